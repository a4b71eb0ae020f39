"""A data set, in memory where that holds it.

The images stay as uint8 on the device (50,000 of 32x32 are 150 MB), so there are no loaders and no copies to wait for.
Folders of larger ones, which the memory that is free does not hold, stay in their files: see ``on_disk``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from reconfig.harness.data.download import NAMES, fetch
from reconfig.harness.data.extra import read_extra
from reconfig.harness.data.images import Arrays
from reconfig.harness.data.layouts import FOLDERS, LAYOUTS, list_folders
from reconfig.harness.data.on_disk import Files, OnDisk, fits
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Data
from reconfig.harness.files import DataError

ENVIRONMENT = "RECONFIG_DATA"
_HELP = """\
Get CIFAR-10 with
  python -c "from torchvision.datasets import CIFAR10; CIFAR10('data', download=True)"
on a machine with a network and give --data data, or try --data digits, which comes with scikit-learn"""


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
    files: tuple[Files, ...] = ()
    """Of folders of images that were given a size: the files to train and to test on."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.train.shape

    def fingerprint(self) -> str:
        """A digest of every pixel and label to train and test on, in order, wherever they lie.

        Of folders that were given a size, it is one of their files' names and sizes, in memory or not. The extra images
        have no part in it: who attacks a network later does not need them.
        """
        if self.files:
            names = "".join(name for each in self.files for name in each.names())
            return hashlib.sha256(f"{self.shape} {names}".encode()).hexdigest()[:16]
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


Needed = Callable[[int, tuple[int, int, int]], int]
"""(classes, channels, height and width of an image) -> the bytes that networks for them take."""


def load_dataset(data: Data, needed: Needed | None = None) -> Dataset:
    """The data set at ``data.path``, else at the environment variable RECONFIG_DATA, else CIFAR-10.

    The path is a folder in one of ``layouts.LAYOUTS``, or a word: one of ``download.NAMES``, or digits (scikit-learn's
    1,797 scans, enlarged from 8x8 to 32x32). Limits keep the first so many images. ``data.extra`` is a
    file that ``extra.read_extra`` knows. Images that may stay in their files are kept in memory where that holds them
    beside what is ``needed`` for networks.

    Raises:
        DataError: If there is nothing, or what is there is empty, damaged or of the wrong shape; the
            message names it.
    """
    dataset = _load(data, needed)
    return dataset if data.extra is None else with_extra(dataset, data.extra)


def _load(data: Data, needed: Needed | None) -> Dataset:
    path, limits = data.path or os.environ.get(ENVIRONMENT) or "", {"train": data.train_limit, "test": data.test_limit}
    if path == "digits":
        train, test = _digits(data.train_limit, data.test_limit)
        return _checked("digits (scikit-learn, 8x8 scaled to 32x32)", _tensors(train), _tensors(test))
    folder = _fetched(path) if path in ("", *NAMES) else Path(path).expanduser()
    if not folder.is_dir():
        kind = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DataError(f"the data folder {folder} {kind}.\n{_HELP}")
    for layout in LAYOUTS:
        found = layout.find(folder)
        if found is not None:
            name = f"{folder.resolve().name} ({layout.name})"
            if data.size is None:
                return _checked(name, *(_tensors(layout.read(found, split, limit)) for split, limit in limits.items()))
            if layout.name != FOLDERS:
                raise DataError(f"data.size is for folders of images, and those of {name} have a size; leave it out")
            files = [Files.of(list_folders(found, split, limit), data.size) for split, limit in limits.items()]
            return replace(_checked(name, *_kept(files, data, needed)), files=tuple(files))
    looked = "; ".join(f"{layout.sign} ({layout.name})" for layout in LAYOUTS)
    raise DataError(f"{folder} holds no known data set. Looked for: {looked}.\n{_HELP}")


def _kept(files: Sequence[Files], data: Data, needed: Needed | None) -> list[Split]:
    """Files in memory, or where they are: always those that crops are cut out of, which are of the whole images."""
    train, test = files
    cut = data.crop_area is not None
    in_memory = data.keep == "memory"
    if data.keep == "auto":
        splits = [test] if cut else files
        in_memory = fits(splits, None if needed is None else needed(max(train.labels) + 1, (3, train.size, train.size)))
    return [_tensors(each.decoded()) if in_memory and not (cut and each is train) else OnDisk(each) for each in files]


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


def _checked(name: str, train: Split, test: Split) -> Dataset:
    """The splits as a data set, if they are one."""
    for use, split in (("train", train), ("test", test)):
        if len(split) == 0:
            raise DataError(f"{name}: the {use} split is empty")
        if split.labels.min() < 0:
            raise DataError(f"{name}: the {use} split has the label {split.labels.min()}; classes count from 0")
    if train.shape != test.shape:
        sizes = [f"{split.shape[2]}x{split.shape[1]}" for split in (train, test)]
        raise DataError(f"{name}: training images have {sizes[0]} pixels and test images {sizes[1]}")
    classes = int(train.labels.max()) + 1
    if classes < 2:
        raise DataError(f"{name}: the train split has one class; at least two are needed")
    if test.labels.max() >= classes:
        raise DataError(
            f"{name}: the test split has the label {test.labels.max()},"
            f" but the training images read have only 0 to {classes - 1}"
        )
    return Dataset(name, classes, train=train, test=test)


def _tensors(arrays: Arrays) -> Split:
    return Split(torch.from_numpy(arrays.images.copy()), torch.from_numpy(arrays.labels.copy()))
