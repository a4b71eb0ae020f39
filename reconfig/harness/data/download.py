"""Data sets by their name, got once for all runs: by torchvision's addresses, each file held against its checksum."""

from __future__ import annotations

import sys
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from reconfig.harness.files import DataError, reason


def _archive(kind: Any, folder: Path) -> None:
    """CIFAR, one archive: anew where a file of it is missing, or is not what it was packed as."""
    from torchvision.datasets.utils import check_integrity, download_and_extract_archive

    files = [*kind.train_list, *kind.test_list]
    if not all(check_integrity(str(folder / kind.base_folder / name), digest) for name, digest in files):
        _say(kind, folder)
        download_and_extract_archive(kind.url, str(folder), filename=kind.filename, md5=kind.tgz_md5)
        if not all(check_integrity(str(folder / kind.base_folder / name), digest) for name, digest in files):
            raise RuntimeError("the archive holds other files than it should")


def _files(kind: Any, folder: Path) -> None:
    """SVHN, a file a split."""
    from torchvision.datasets.utils import check_integrity, download_url

    for split in ("train", "test"):
        url, name, digest = kind.split_list[split]
        if not check_integrity(str(folder / name), digest):
            _say(kind, folder)
            download_url(url, str(folder), name, digest)


def _say(kind: Any, folder: Path) -> None:
    print(f"getting {kind.__name__} into {folder}", file=sys.stderr)


_KNOWN: dict[str, tuple[str, Callable[[Any, Path], None]]] = {
    "cifar10": ("CIFAR10", _archive),
    "cifar100": ("CIFAR100", _archive),
    "svhn": ("SVHN", _files),
}
NAMES = tuple(_KNOWN)
"""What can be asked for: torchvision's class of the same name says where it is."""


def root() -> Path:
    """Where the data sets of all runs lie: beside torch's hub, which TORCH_HOME moves."""
    return Path(torch.hub.get_dir()).parent / "datasets"


def fetch(name: str) -> Path:
    """The folder of the data set called ``name``, one of ``NAMES``; what is not there whole is downloaded.

    Of several processes one downloads, and the others wait for it.

    Raises:
        DataError: If it cannot be downloaded or written.
    """
    import torchvision.datasets

    folder = root() / name
    called, get = _KNOWN[name]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            get(getattr(torchvision.datasets, called), folder)
    except (OSError, RuntimeError, HTTPException, ValueError, EOFError) as error:  # URLError is an OSError
        raise DataError(f"{called} cannot be downloaded into {folder}: {reason(error)}") from error
    return folder
