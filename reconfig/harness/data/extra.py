"""One file of more training images with labels that may be a network's answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconfig.harness.data.images import Arrays, decode, parquet_rows, stack
from reconfig.harness.data.pickles import read_arrays
from reconfig.harness.files import DataError, reason


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
    return stack((name, decode(name, encoded), label) for name, encoded, label in parquet_rows(path))


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
