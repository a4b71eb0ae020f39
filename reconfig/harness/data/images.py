"""Encoded images and rows of them as arrays: what the layouts and the file of extra images share."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reconfig.harness.files import DataError, reason

_IMAGE_COLUMNS = ("img", "image")
_LABEL_COLUMNS = ("label", "fine_label")


class Arrays(NamedTuple):
    """Images as they were read: [N, 3, H, W] and labels [N]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def parquet_rows(path: Path) -> Iterator[tuple[str, bytes, int]]:
    """(name of the row, encoded image, label) for each row of a file."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            image_column = _column(path, file.schema_arrow.names, _IMAGE_COLUMNS)
            label_column = _column(path, file.schema_arrow.names, _LABEL_COLUMNS)
            row = 0
            for batch in file.iter_batches(batch_size=1000, columns=[image_column, label_column]):
                images, labels = batch[image_column].to_pylist(), batch[label_column].to_pylist()
                for image, label in zip(images, labels, strict=True):
                    name = f"{path}, row {row}"
                    encoded = image.get("bytes") if isinstance(image, dict) else image
                    if not isinstance(encoded, bytes):
                        raise DataError(f"{name}: column {image_column} holds no image bytes")
                    if not isinstance(label, int):
                        raise DataError(f"{name}: column {label_column} holds {label!r}, not a class number")
                    yield name, encoded, label
                    row += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is truncated or no parquet file: {reason(error)}") from error


def _column(path: Path, names: list[str], wanted: tuple[str, ...]) -> str:
    found = next((name for name in wanted if name in names), None)
    if found is None:
        raise DataError(f"{path} has the columns {', '.join(names)}; one of {' or '.join(wanted)} is needed")
    return found


def decode(
    name: str, source: bytes | Path, change: Callable[[Image.Image], Image.Image] = lambda image: image
) -> NDArray[np.uint8]:
    """An encoded image, changed, as uint8 [3, H, W]."""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return np.asarray(change(image).convert("RGB")).transpose(2, 0, 1)
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        raise DataError(f"{name} is no readable image: {reason(error)}") from error


def stack(rows: Iterable[tuple[str, NDArray[np.uint8], int]]) -> Arrays:
    """(name for messages, image, label) of each row, as arrays."""
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for name, image, label in rows:
        if images and image.shape != images[0].shape:
            raise DataError(
                f"{name} is {image.shape[2]}x{image.shape[1]} pixels and the images before it are"
                f" {images[0].shape[2]}x{images[0].shape[1]}; all must have one size,"
                " which --data.size gives to folders of images"
            )
        images.append(image)
        labels.append(label)
    stacked = np.stack(images) if images else np.empty((0, 3, 0, 0), np.uint8)
    return Arrays(stacked, np.array(labels, np.int64))
