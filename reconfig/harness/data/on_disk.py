"""Images that stay in their files, for data sets that no memory holds: decoded by loader threads, a few batches ahead.

Decoding gives up Python's lock, so that threads do what processes would, without copies between them.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from reconfig.harness.data import room
from reconfig.harness.data.crops import Box, Crops
from reconfig.harness.data.images import Arrays, decode
from reconfig.harness.data.split import Split

_AHEAD = 2
"""Batches that are decoded before they are asked for."""
_BORDER = 8 / 7
"""What an image's shorter side is resized to, in crops: 256 for 224, as everybody evaluates on ImageNet."""


@dataclass(frozen=True)
class Files:
    """Image files with their labels, seen as squares of one size."""

    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    size: int
    """Pixels of a side: the shorter side is resized to 8/7 of it, and the middle is cut out."""

    @classmethod
    def of(cls, items: Sequence[tuple[Path, int]], size: int) -> Files:
        """Files with their labels, at one size."""
        return cls(tuple(path for path, _ in items), tuple(label for _, label in items), size)

    @property
    def bytes(self) -> int:
        """What they take decoded."""
        return len(self.paths) * 3 * self.size**2

    def names(self) -> Iterator[str]:
        """Each file's class, name, size in bytes and label: what a digest of what may be 150 GB is made of."""
        for path, label in zip(self.paths, self.labels, strict=True):
            yield f"{path.parent.name}/{path.name} {path.stat().st_size} {label}\n"

    def decoded(self, crops: Crops | None = None) -> Arrays:
        """All of them in memory: the middle of each, or a random crop."""
        images = np.empty((len(self.paths), 3, self.size, self.size), np.uint8)
        with ThreadPoolExecutor(workers()) as pool:
            for row, image in enumerate(pool.map(partial(self._one, crops), range(len(self.paths)))):
                images[row] = image
        return Arrays(images, np.array(self.labels, np.int64))

    def _one(self, crops: Crops | None, row: int) -> NDArray[np.uint8]:
        path = self.paths[row]
        return square(path, self.size) if crops is None else cropped(path, self.size, partial(crops.box, row))


def workers() -> int:
    """How many threads decode: one for each core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fits(files: Sequence[Files], needed: int | None) -> bool:
    """Whether the memory that is free now holds these files decoded beside the ``needed`` bytes, which are half of it
    where they are not known: on the GPU if there is one, and here, twice, as training images are divided into copies.
    """
    held, here, gpu = sum(each.bytes for each in files), room.here(), room.on_gpu()
    if gpu is None:
        return 2 * held + (here / 2 if needed is None else needed) <= here
    return 2 * held <= here and held + (gpu / 2 if needed is None else needed) <= gpu


def square(path: Path, size: int) -> NDArray[np.uint8]:
    """An image file as uint8 [3, size, size].

    Raises:
        DataError: If it is no readable image.
    """

    def cut(image: Image.Image) -> Image.Image:
        border = round(size * _BORDER)
        image.draft("RGB", (border, border))  # a JPEG is decoded no larger than it has to be
        scale = border / min(image.size)
        width, height = (max(border, round(side * scale)) for side in image.size)
        resized = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        left, top = (width - size) // 2, (height - size) // 2
        return resized.crop((left, top, left + size, top + size))

    return decode(str(path), path, cut)


def cropped(path: Path, size: int, place: Callable[[int, int], Box]) -> NDArray[np.uint8]:
    """The part of an image file that ``place`` gives for its width and height, as uint8 [3, size, size].

    Raises:
        DataError: If it is no readable image.
    """

    def cut(image: Image.Image) -> Image.Image:
        whole = image.width
        left, top, width, height = place(*image.size)
        image.draft("RGB", (-(-image.width * size // width), -(-image.height * size // height)))  # as in ``square``
        shrunk = image.width / whole
        corners = (round(edge * shrunk) for edge in (left, top, left + width, top + height))
        part = image.convert("RGB").crop((next(corners), next(corners), next(corners), next(corners)))
        return part.resize((size, size), Image.Resampling.BILINEAR)

    return decode(str(path), path, cut)


class OnDisk(Split):
    """A ``Split`` of files: those of ``rows`` (on the CPU). Its ``images`` are decoded each time they are asked for.

    They come to the device of its ``labels``.
    """

    files: Files
    rows: Tensor

    def __init__(self, files: Files, rows: Tensor | None = None, labels: Tensor | None = None) -> None:
        held = {
            "files": files,
            "rows": torch.arange(len(files.paths)) if rows is None else rows,
            "labels": torch.tensor(files.labels) if labels is None else labels,
        }
        for name, value in held.items():
            object.__setattr__(self, name, value)  # a Split is frozen

    @property
    def images(self) -> Tensor:
        """The images [N, C, H, W], decoded now."""
        return self._loaded().images

    def __getitem__(self, rows: Tensor | slice) -> OnDisk:
        here = rows.cpu() if isinstance(rows, Tensor) else rows
        return OnDisk(self.files, self.rows[here], self.labels[rows])

    @property
    def shape(self) -> tuple[int, int, int]:
        """See ``Split``."""
        return 3, self.files.size, self.files.size

    def stream(self, parts: Iterable[Tensor]) -> Iterator[Split]:
        """See ``Split``; a few of them are decoded ahead."""
        return self._ahead((rows, None) for rows in parts)

    def cropped(self, parts: Iterable[tuple[Tensor, Crops]]) -> Iterator[Split]:
        """See ``Split``; the crops are of the whole images as they are in their files."""
        return self._ahead(parts)

    def _ahead(self, parts: Iterable[tuple[Tensor, Crops | None]]) -> Iterator[Split]:
        with ThreadPoolExecutor(1) as reader:  # which asks the decoders; one part after the other
            waiting: deque[Future[Split]] = deque()
            try:
                for rows, crops in parts:
                    waiting.append(reader.submit(self[rows]._loaded, crops))
                    if len(waiting) > _AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def labelled(self, labels: Tensor) -> OnDisk:
        """See ``Split``."""
        return OnDisk(self.files, self.rows, labels)

    def joined(self, other: Split) -> Split:
        """See ``Split``; both are in memory then."""
        return self._loaded().joined(other)

    def to(self, device: torch.device) -> OnDisk:
        """See ``Split``."""
        return OnDisk(self.files, self.rows, self.labels.to(device))

    def __repr__(self) -> str:
        return f"OnDisk({len(self)} images of {self.files.size}x{self.files.size} in files)"  # and not their pixels

    def _some(self) -> Files:
        """The files of these rows."""
        rows = self.rows.tolist()
        paths, labels = self.files.paths, self.files.labels
        return replace(self.files, paths=tuple(paths[row] for row in rows), labels=tuple(labels[row] for row in rows))

    def _loaded(self, crops: Crops | None = None) -> Split:
        return Split(torch.from_numpy(self._some().decoded(crops).images).to(self.labels.device), self.labels)
