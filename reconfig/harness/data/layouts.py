"""The layouts in which image data sets lie on disk, each read into arrays.

A reader takes the folder, "train" or "test", and the number of images wanted (None: all), and returns
``Arrays``. What is missing, damaged or of the wrong shape raises ``DataError`` with the file's name.
Nothing that a file says is executed.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from reconfig.harness.data.images import Arrays, decode, parquet_rows, stack
from reconfig.harness.data.pickles import read_arrays
from reconfig.harness.files import DataError


class Layout(NamedTuple):
    """One way a data set lies in a folder."""

    name: str
    sign: str
    """What in a folder shows this layout, in words."""
    find: Callable[[Path], Path | None]
    """The folder the files are in (the given one, or one inside it), or None."""
    read: Callable[[Path, str, int | None], Arrays]
    """(folder, "train" or "test", limit) -> the split."""


# ---------------------------------------------------------------- parquet, as on the Hugging Face hub


def _find_parquet(folder: Path) -> Path | None:
    first = next(iter(sorted(folder.glob("**/train-*.parquet"))), None)
    return first.parent if first else None


def _read_parquet(folder: Path, split: str, limit: int | None) -> Arrays:
    files = sorted(folder.glob(f"{split}-*.parquet"))
    if not files:
        raise DataError(f"{folder} has no {split}-*.parquet; both train-*.parquet and test-*.parquet are needed")
    rows = islice(chain.from_iterable(map(parquet_rows, files)), limit)
    return stack((name, decode(name, encoded), label) for name, encoded, label in rows)


# ---------------------------------------------------------------- torchvision's cifar-10-batches-py

_BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
_CIFAR_SHAPE = (3, 32, 32)


def _find_batches(folder: Path) -> Path | None:
    names = {*_BATCHES["train"], *_BATCHES["test"]}
    for candidate in (folder, folder / "cifar-10-batches-py"):
        if any((candidate / name).is_file() for name in names):
            return candidate
    return None


def _read_batches(folder: Path, split: str, limit: int | None) -> Arrays:
    parts = [_read_batch(folder / name) for name in _BATCHES[split]]
    images, labels = (np.concatenate(arrays)[:limit] for arrays in zip(*parts, strict=True))
    return Arrays(images, labels)


def _read_batch(path: Path) -> Arrays:
    if not path.is_file():
        raise DataError(f"{path} is missing; get it with torchvision.datasets.CIFAR10(root, download=True)")
    content = read_arrays(path)
    missing = {"data", "labels"} - content.keys()
    if missing:
        raise DataError(
            f"{path} holds {', '.join(content) or 'nothing'} but no {min(missing)}, so it is no CIFAR-10 batch"
        )
    images, labels = content["data"], content["labels"]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path} holds labels that are no class numbers: {labels.dtype} {list(labels.shape)}")
    wanted = (len(labels), int(np.prod(_CIFAR_SHAPE)))
    if images.dtype != np.uint8 or images.shape != wanted:
        raise DataError(
            f"{path} holds data of {images.dtype} {list(images.shape)} for {len(labels)} labels;"
            f" uint8 {list(wanted)} is needed"
        )
    return Arrays(images.reshape(-1, *_CIFAR_SHAPE), labels.astype(np.int64))


# ---------------------------------------------------------------- a folder per class

_TEST_FOLDERS = ("test", "val")


def _find_folders(folder: Path) -> Path | None:
    return folder if (folder / "train").is_dir() else None


def _read_folders(folder: Path, split: str, limit: int | None) -> Arrays:
    names = ("train",) if split == "train" else _TEST_FOLDERS
    root = next((folder / name for name in names if (folder / name).is_dir()), None)
    if root is None:
        raise DataError(f"{folder} has no folder {' or '.join(names)} beside train")
    classes = sorted(path.name for path in (folder / "train").iterdir() if path.is_dir())
    unknown = {path.name for path in root.iterdir() if path.is_dir()} - set(classes)
    if unknown:
        raise DataError(f"{root} has the class {min(unknown)}, which {folder / 'train'} has not")
    suffixes = Image.registered_extensions()
    per_class = [
        [(path, label) for path in sorted((root / name).glob("*")) if path.suffix.lower() in suffixes]
        for label, name in enumerate(classes)
    ]
    # Round the classes in turn, so that the first so many images hold all classes alike.
    turns = (item for turn in zip_longest(*per_class) for item in turn if item is not None)
    items = islice(turns, limit)
    return stack((str(path), decode(str(path), path), label) for path, label in items)


LAYOUTS = (
    Layout("Hugging Face parquet", "files train-*.parquet and test-*.parquet", _find_parquet, _read_parquet),
    Layout("torchvision CIFAR-10", "a folder cifar-10-batches-py", _find_batches, _read_batches),
    Layout("image folders", "folders train/CLASS/ and test/CLASS/ (or val/)", _find_folders, _read_folders),
)
