"""Data sets by name, from a server of the test's own."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision import datasets

from reconfig.harness.data import download
from reconfig.harness.data.dataset import load_dataset
from reconfig.harness.experiment import Data
from reconfig.harness.files import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 3, 32, 32), dtype=np.uint8)
LABELS = np.arange(24) % 4


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def packed(folder: str, files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(f"{folder}/{name}")
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return buffer.getvalue()


def batch(rows: slice, labels: bytes) -> bytes:
    return pickle.dumps({b"data": PIXELS[rows].reshape(-1, 3072), labels: LABELS[rows].tolist()}, protocol=2)


class Handler(SimpleHTTPRequestHandler):
    """Counts what is asked for, and says nothing."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        with suppress(BrokenPipeError):  # torchvision asks for each file twice, at first only where it is
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is asked of the server that has all three data sets, where torchvision now looks for them."""
    served = tmp_path / "served"
    served.mkdir()
    Handler.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(served)))
    address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("RECONFIG_DATA", raising=False)

    ten = {f"data_batch_{i}": batch(slice(4 * i - 4, 4 * i), b"labels") for i in range(1, 6)}
    ten["test_batch"] = batch(slice(20, 24), b"labels")
    hundred = {"train": batch(slice(0, 20), b"fine_labels"), "test": batch(slice(20, 24), b"fine_labels")}
    for kind, folder, files in ((datasets.CIFAR10, "ten", ten), (datasets.CIFAR100, "hundred", hundred)):
        content = packed(kind.base_folder, files)
        (served / f"{folder}.tar.gz").write_bytes(content)
        digests = [[name, md5(each)] for name, each in files.items()]
        monkeypatch.setattr(kind, "url", f"{address}/{folder}.tar.gz")
        monkeypatch.setattr(kind, "tgz_md5", md5(content))
        monkeypatch.setattr(kind, "train_list", [each for each in digests if not each[0].startswith("test")])
        monkeypatch.setattr(kind, "test_list", [each for each in digests if each[0].startswith("test")])
    splits = {}
    for split, rows in (("train", slice(0, 20)), ("test", slice(20, 24))):
        name = f"{split}_32x32.mat"
        digits = np.where(LABELS[rows] == 0, 10, LABELS[rows])[:, None]  # as SVHN writes a 0
        savemat(served / name, {"X": PIXELS[rows].transpose(2, 3, 1, 0), "y": digits})
        splits[split] = [f"{address}/{name}", name, md5((served / name).read_bytes())]
    monkeypatch.setattr(datasets.SVHN, "split_list", splits)
    yield Handler.asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "shown", "files"),
    [
        ("cifar10", "cifar10 (torchvision CIFAR-10)", 1),
        ("cifar100", "cifar100 (torchvision CIFAR-100)", 1),
        ("svhn", "svhn (torchvision SVHN)", 2),
        (None, "cifar10 (torchvision CIFAR-10)", 1),
    ],
)
def test_a_data_set_is_downloaded_once(name: str | None, shown: str, files: int, asked: list[str]) -> None:
    data = load_dataset(Data(name))
    assert (data.name, data.classes) == (shown, 4)
    assert torch.equal(torch.cat([data.train.images, data.test.images]), torch.from_numpy(PIXELS))
    assert torch.equal(torch.cat([data.train.labels, data.test.labels]), torch.from_numpy(LABELS))
    assert len(asked) == 2 * files
    assert load_dataset(Data(name, train_limit=8)).train.labels.tolist() == LABELS[:8].tolist()
    assert len(asked) == 2 * files


def test_runs_that_begin_at_once_download_once(asked: list[str]) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: load_dataset(Data("cifar10")).fingerprint(), range(4)))
    assert len(set(found)) == 1
    assert len(asked) == 2


@pytest.mark.parametrize("damaged", ["ten.tar.gz", "cifar-10-batches-py/data_batch_3"])
def test_what_a_kill_left_half_is_got_again(damaged: str, asked: list[str]) -> None:
    whole = load_dataset(Data("cifar10")).fingerprint()
    folder = download.root() / "cifar10"
    path = folder / damaged if "/" in damaged else folder / datasets.CIFAR10.filename
    path.write_bytes(path.read_bytes()[:-10])
    (folder / "cifar-10-batches-py" / "test_batch").unlink()
    assert load_dataset(Data("cifar10")).fingerprint() == whole


def test_other_bytes_than_the_checksum_s_are_refused(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", "0" * 32)
    with pytest.raises(DataError, match=r"CIFAR10 cannot be downloaded into .*: File not found or corrupted"):
        load_dataset(Data("cifar10"))
    assert not list(download.root().glob("cifar10/cifar-10*"))[1:]  # the archive alone, not unpacked


def test_without_a_network_it_says_what_to_do(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/none.tar.gz")
    with pytest.raises(DataError) as raised:
        load_dataset(Data())
    text = str(raised.value)
    assert text.startswith("no data: neither --data nor the environment variable RECONFIG_DATA is set.\nCIFAR10 cannot")
    assert "CIFAR10('data', download=True)" in text
    assert "--data digits" in text
    with pytest.raises(DataError, match=r"^CIFAR10 cannot be downloaded"):
        load_dataset(Data("cifar10"))


def test_a_damaged_file_of_svhn_is_named(asked: list[str]) -> None:
    load_dataset(Data("svhn"))
    path = download.root() / "svhn" / "test_32x32.mat"
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"test_32x32\.mat is missing, damaged or no file of SVHN"):
        load_dataset(Data(str(path.parent)))
