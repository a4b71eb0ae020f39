"""The layouts in which image data sets lie on disk, each read into arrays.

A reader takes the folder, "train" or "test", and the number of images wanted (None: all), and returns
``Arrays``. What is missing, damaged or of the wrong shape raises ``DataError`` with the file's name.
Nothing that a file says is executed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from reconfig.harness.data.images import Arrays, decode, parquet_rows, stack
from reconfig.harness.data.pickles import read_arrays
from reconfig.harness.files import DataError, reason


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


# ---------------------------------------------------------------- what torchvision unpacks: CIFAR, SVHN

_CIFAR10, _CIFAR100 = "cifar-10-batches-py", "cifar-100-python"
_LABELS, _FINE_LABELS = "labels", "fine_labels"
_BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
_FINE = {"train": ("train",), "test": ("test",)}
_SHAPE = (3, 32, 32)


def _find_pickles(folder: Path, inner: str, files: Mapping[str, Sequence[str]]) -> Path | None:
    names = {name for of_split in files.values() for name in of_split}
    for candidate in (folder, folder / inner):
        if (candidate.name == inner or inner == _CIFAR10) and any((candidate / name).is_file() for name in names):
            return candidate
    return None


def _read_pickles(
    folder: Path, split: str, limit: int | None, files: Mapping[str, Sequence[str]], labels: str
) -> Arrays:
    parts = [_read_pickle(folder / name, labels) for name in files[split]]
    images, numbers = (np.concatenate(arrays)[:limit] for arrays in zip(*parts, strict=True))
    return Arrays(images, numbers)


def _read_pickle(path: Path, key: str) -> Arrays:
    if not path.is_file():
        kind = {_LABELS: "CIFAR10", _FINE_LABELS: "CIFAR100"}[key]
        raise DataError(f"{path} is missing; get it with torchvision.datasets.{kind}(root, download=True)")
    content = read_arrays(path)
    missing = {"data", key} - content.keys()
    if missing:
        kind = {_LABELS: "CIFAR-10", _FINE_LABELS: "CIFAR-100"}[key]
        raise DataError(
            f"{path} holds {', '.join(content) or 'nothing'} but no {min(missing)}, so it is no {kind} batch"
        )
    images, labels = content["data"], content[key]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path} holds labels that are no class numbers: {labels.dtype} {list(labels.shape)}")
    wanted = (len(labels), int(np.prod(_SHAPE)))
    if images.dtype != np.uint8 or images.shape != wanted:
        raise DataError(
            f"{path} holds data of {images.dtype} {list(images.shape)} for {len(labels)} labels;"
            f" uint8 {list(wanted)} is needed"
        )
    return Arrays(images.reshape(-1, *_SHAPE), labels.astype(np.int64))


def _find_svhn(folder: Path) -> Path | None:
    return folder if (folder / "train_32x32.mat").is_file() else None


def _read_svhn(folder: Path, split: str, limit: int | None) -> Arrays:
    from scipy.io import loadmat

    path = folder / f"{split}_32x32.mat"
    try:
        content = loadmat(path, variable_names=("X", "y"))
        images, labels = content["X"], content["y"].ravel().astype(np.int64)
    except Exception as error:  # scipy's reader raises whatever the bytes lead to
        raise DataError(f"{path} is missing, damaged or no file of SVHN: {reason(error)}") from error
    if images.dtype != np.uint8 or images.shape != (32, 32, 3, len(labels)):
        raise DataError(
            f"{path} holds X of {images.dtype} {list(images.shape)} for {len(labels)} labels;"
            f" uint8 [32, 32, 3, {len(labels)}] is needed"
        )
    return Arrays(images.transpose(3, 2, 0, 1)[:limit], (labels % 10)[:limit])  # it writes the digit 0 as 10


# ---------------------------------------------------------------- a folder per class

FOLDERS = "image folders"
_TEST_FOLDERS = ("test", "val")


def _find_folders(folder: Path) -> Path | None:
    return folder if (folder / "train").is_dir() else None


def _read_folders(folder: Path, split: str, limit: int | None) -> Arrays:
    return stack((str(path), decode(str(path), path), label) for path, label in list_folders(folder, split, limit))


def list_folders(folder: Path, split: str, limit: int | None) -> list[tuple[Path, int]]:
    """The image files of a split with their labels, round the classes in turn.

    Raises:
        DataError: If there is no folder of the split, or it has a class that training has not.
    """
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
    return list(islice(turns, limit))


LAYOUTS = (
    Layout("Hugging Face parquet", "files train-*.parquet and test-*.parquet", _find_parquet, _read_parquet),
    Layout(
        "torchvision CIFAR-10",
        "a folder cifar-10-batches-py",
        partial(_find_pickles, inner=_CIFAR10, files=_BATCHES),
        partial(_read_pickles, files=_BATCHES, labels=_LABELS),
    ),
    Layout(
        "torchvision CIFAR-100",
        "a folder cifar-100-python",
        partial(_find_pickles, inner=_CIFAR100, files=_FINE),
        partial(_read_pickles, files=_FINE, labels=_FINE_LABELS),
    ),
    Layout("torchvision SVHN", "files train_32x32.mat and test_32x32.mat", _find_svhn, _read_svhn),
    Layout(FOLDERS, "folders train/CLASS/ and test/CLASS/ (or val/)", _find_folders, _read_folders),
)
