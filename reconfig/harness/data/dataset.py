"""A data set as two tensors.

The images stay as uint8 on the device (50,000 of 32x32 are 150 MB), so there are no loader processes and no
copies to wait for.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reconfig.harness.data.download import NAMES, fetch
from reconfig.harness.data.extra import read_extra
from reconfig.harness.data.images import Arrays
from reconfig.harness.data.layouts import LAYOUTS
from reconfig.harness.experiment import Data
from reconfig.harness.files import DataError

ENVIRONMENT = "RECONFIG_DATA"
_HELP = """\
Get CIFAR-10 with
  python -c "from torchvision.datasets import CIFAR10; CIFAR10('data', download=True)"
on a machine with a network and give --data data, or try --data digits, which comes with scikit-learn"""


@dataclass(frozen=True)
class Split:
    """Images [N, C, H, W] as uint8 and their labels [N] as int64, on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor | slice) -> Split:
        return Split(self.images[rows], self.labels[rows])

    def joined(self, other: Split) -> Split:
        """The images of both, one after the other."""
        return Split(torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels]))

    def to(self, device: torch.device) -> Split:
        """The same split on another device."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """Training and test images."""

    name: str
    """Layout and folder, as reports show it."""
    classes: int
    train: Split
    test: Split
    extra: Split | None = None
    """More training images, with labels that may be a network's answers."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    def fingerprint(self) -> str:
        """A digest of every pixel and label to train and test on, in order, wherever they lie. Not of the extra images:
        who attacks a network later does not need them.
        """
        return self._digest(self.train, self.test)

    def extra_fingerprint(self) -> str | None:
        """The same of the extra images, if there are any."""
        return None if self.extra is None else self._digest(self.extra)

    def _digest(self, *splits: Split) -> str:
        digest = hashlib.sha256(repr(self.shape).encode())
        for split in splits:
            for tensor in (split.images, split.labels):
                digest.update(tensor.cpu().numpy().data)
        return digest.hexdigest()[:16]


def load_dataset(data: Data) -> Dataset:
    """The data set at ``data.path``, else at the environment variable RECONFIG_DATA, else CIFAR-10.

    The path is a folder in one of ``layouts.LAYOUTS``, or a word: one of ``download.NAMES``, or digits (scikit-learn's
    1,797 scans, enlarged from 8x8 to 32x32). Limits keep the first so many images. ``data.extra`` is a
    file that ``extra.read_extra`` knows.

    Raises:
        DataError: If there is nothing, or what is there is empty, damaged or of the wrong shape; the
            message names it.
    """
    dataset = _load(data.path, data.train_limit, data.test_limit)
    return dataset if data.extra is None else with_extra(dataset, data.extra)


def _load(path: str | None, train_limit: int | None, test_limit: int | None) -> Dataset:
    path = path or os.environ.get(ENVIRONMENT) or ""
    if path == "digits":
        return _checked("digits (scikit-learn, 8x8 scaled to 32x32)", *_digits(train_limit, test_limit))
    folder = _fetched(path) if path in ("", *NAMES) else Path(path).expanduser()
    if not folder.is_dir():
        kind = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DataError(f"the data folder {folder} {kind}.\n{_HELP}")
    for layout in LAYOUTS:
        found = layout.find(folder)
        if found is not None:
            train = layout.read(found, "train", train_limit)
            test = layout.read(found, "test", test_limit)
            return _checked(f"{folder.resolve().name} ({layout.name})", train, test)
    looked = "; ".join(f"{layout.sign} ({layout.name})" for layout in LAYOUTS)
    raise DataError(f"{folder} holds no known data set. Looked for: {looked}.\n{_HELP}")


def _fetched(name: str) -> Path:
    """The folder of a data set that is downloaded; without a name it is CIFAR-10."""
    try:
        return fetch(name or NAMES[0])
    except DataError as error:
        unset = f"no data: neither --data nor the environment variable {ENVIRONMENT} is set.\n" if not name else ""
        raise DataError(f"{unset}{error}.\n{_HELP}") from error


def with_extra(dataset: Dataset, path: str) -> Dataset:
    """``dataset`` with the images of the file ``path`` as its extra ones: see ``extra.read_extra``.

    Raises:
        DataError: If the file cannot be read, or its images or labels do not fit the data set's.
    """
    extra = _tensors(read_extra(Path(path).expanduser()))
    size, wanted = (f"{shape[2]}x{shape[1]}" for shape in (extra.images.shape[1:], dataset.shape))
    if size != wanted:
        raise DataError(f"{path}: the extra images have {size} pixels, those of {dataset.name} {wanted}")
    low, high = int(extra.labels.min()), int(extra.labels.max())
    if low < 0 or high >= dataset.classes:
        raise DataError(
            f"{path}: the extra images have labels from {low} to {high},"
            f" but {dataset.name} has {dataset.classes} classes, 0 to {dataset.classes - 1}"
        )
    return replace(dataset, extra=extra)


def _digits(train_limit: int | None, test_limit: int | None) -> tuple[Arrays, Arrays]:
    from sklearn.datasets import load_digits

    scans = load_digits()
    small = torch.from_numpy(scans.images).float().mul(255 / 16).unsqueeze(1)  # grey levels 0 to 16
    large = F.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False).round().to(torch.uint8)
    images, labels = large.expand(-1, 3, -1, -1).numpy(), scans.target.astype(np.int64)
    fifth = np.arange(len(labels)) % 5 == 4  # every fifth is a test image, so that all writers are in both
    train, test = np.flatnonzero(~fifth)[:train_limit], np.flatnonzero(fifth)[:test_limit]
    return Arrays(images[train], labels[train]), Arrays(images[test], labels[test])


def _checked(name: str, train: Arrays, test: Arrays) -> Dataset:
    """The arrays as a data set, if they are one."""
    for split, arrays in (("train", train), ("test", test)):
        if len(arrays.labels) == 0:
            raise DataError(f"{name}: the {split} split is empty")
        if arrays.labels.min() < 0:
            least = arrays.labels.min()
            raise DataError(f"{name}: the {split} split has the label {least}; classes count from 0")
    if train.images.shape[1:] != test.images.shape[1:]:
        sizes = [f"{arrays.images.shape[3]}x{arrays.images.shape[2]}" for arrays in (train, test)]
        raise DataError(f"{name}: training images have {sizes[0]} pixels and test images {sizes[1]}")
    classes = int(train.labels.max()) + 1
    if classes < 2:
        raise DataError(f"{name}: the train split has one class; at least two are needed")
    if test.labels.max() >= classes:
        raise DataError(
            f"{name}: the test split has the label {test.labels.max()},"
            f" but the training images read have only 0 to {classes - 1}"
        )
    return Dataset(name, classes, train=_tensors(train), test=_tensors(test))


def _tensors(arrays: Arrays) -> Split:
    return Split(torch.from_numpy(arrays.images.copy()), torch.from_numpy(arrays.labels.copy()))
