"""The layouts in which image data sets lie on disk, each read into arrays.

A reader takes the folder, "train" or "test", and the number of images wanted (None: all), and returns
``Arrays``. What is missing, damaged or of the wrong shape raises ``DataError`` with the file's name.
Nothing that a file says is executed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reconfig.harness.data.pickles import read_arrays
from reconfig.harness.files import DataError, reason


class Arrays(NamedTuple):
    """One split as it was read: images [N, 3, H, W] and labels [N]."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


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

_IMAGE_COLUMNS = ("img", "image")
_LABEL_COLUMNS = ("label", "fine_label")


def _find_parquet(folder: Path) -> Path | None:
    first = next(iter(sorted(folder.glob("**/train-*.parquet"))), None)
    return first.parent if first else None


def _read_parquet(folder: Path, split: str, limit: int | None) -> Arrays:
    files = sorted(folder.glob(f"{split}-*.parquet"))
    if not files:
        raise DataError(f"{folder} has no {split}-*.parquet; both train-*.parquet and test-*.parquet are needed")
    rows = islice(chain.from_iterable(map(_parquet_rows, files)), limit)
    return _stack((name, _decode(name, encoded), label) for name, encoded, label in rows)


def _parquet_rows(path: Path) -> Iterator[tuple[str, bytes, int]]:
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
    return _stack((str(path), _decode(str(path), path), label) for path, label in items)


# ---------------------------------------------------------------- what the readers share

LAYOUTS = (
    Layout("Hugging Face parquet", "files train-*.parquet and test-*.parquet", _find_parquet, _read_parquet),
    Layout("torchvision CIFAR-10", "a folder cifar-10-batches-py", _find_batches, _read_batches),
    Layout("image folders", "folders train/CLASS/ and test/CLASS/ (or val/)", _find_folders, _read_folders),
)


# ---------------------------------------------------------------- one file of extra images


def read_extra(path: Path) -> Arrays:
    """More images with labels, out of one file: parquet as on the hub, npz, or the public 500K pickle.

    An npz holds image [N, H, W, 3] of uint8 and label [N] of integers; the pickle (Carmon et al., 2019) calls them
    data and extrapolated_targets.

    Raises:
        DataError: If the file is missing, damaged, of another kind, or holds arrays of other shapes or types.
    """
    if path.suffix not in _EXTRA:
        raise DataError(f"{path} is no file of extra images: its name must end in {', '.join(_EXTRA)}")
    if not path.is_file():
        raise DataError(f"the file of extra images {path} does not exist")
    arrays = _EXTRA[path.suffix](path)
    if not len(arrays.labels):
        raise DataError(f"{path} holds no images")
    return arrays


def _extra_parquet(path: Path) -> Arrays:
    return _stack((name, _decode(name, encoded), label) for name, encoded, label in _parquet_rows(path))


def _extra_npz(path: Path) -> Arrays:
    try:
        # Opened here, because numpy leaves a broken file open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile, zlib and numpy raise a dozen unrelated types
        raise DataError(f"{path} is damaged or no npz of arrays: {reason(error)}") from error
    return _named(path, arrays, "image", "label")


def _extra_pickle(path: Path) -> Arrays:
    return _named(path, read_arrays(path), "data", "extrapolated_targets")


_EXTRA: dict[str, Callable[[Path], Arrays]] = {
    ".parquet": _extra_parquet,
    ".npz": _extra_npz,
    ".pickle": _extra_pickle,
    ".pkl": _extra_pickle,
}


def _named(path: Path, arrays: Mapping[str, NDArray[Any]], image: str, label: str) -> Arrays:
    """The images [N, H, W, 3] and labels [N] of these names."""
    for name in (image, label):
        if name not in arrays:
            raise DataError(f"{path} holds {', '.join(arrays) or 'nothing'}; {image} and {label} are needed")
    images, labels = arrays[image], arrays[label]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise DataError(f"{path}: {image} is {images.dtype} {list(images.shape)}; uint8 [N, H, W, 3] is needed")
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
        raise DataError(
            f"{path}: {label} is {labels.dtype} {list(labels.shape)} for {len(images)} images;"
            f" integers [{len(images)}] are needed"
        )
    return Arrays(images.transpose(0, 3, 1, 2), labels.astype(np.int64))


# ---------------------------------------------------------------- images


def _decode(name: str, source: bytes | Path) -> NDArray[np.uint8]:
    """An encoded image as uint8 [3, H, W]."""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        raise DataError(f"{name} is no readable image: {reason(error)}") from error


def _stack(rows: Iterable[tuple[str, NDArray[np.uint8], int]]) -> Arrays:
    """(name for messages, image, label) of each row, as arrays."""
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for name, image, label in rows:
        if images and image.shape != images[0].shape:
            raise DataError(
                f"{name} is {image.shape[2]}x{image.shape[1]} pixels and the images before it are"
                f" {images[0].shape[2]}x{images[0].shape[1]}; all must have one size"
            )
        images.append(image)
        labels.append(label)
    stacked = np.stack(images) if images else np.empty((0, 3, 0, 0), np.uint8)
    return Arrays(stacked, np.array(labels, np.int64))
