"""Folders of images of many sizes, in memory and in their files."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.small_training import EXPERIMENT, small_machine, small_training
from PIL import Image
from torch import nn

from reconfig.harness.data import on_disk, room
from reconfig.harness.data.dataset import load_dataset
from reconfig.harness.data.on_disk import Files, OnDisk, fits, square
from reconfig.harness.experiment import Data
from reconfig.harness.files import DataError
from reconfig.harness.measuring.predictions import predictions
from reconfig.harness.training.training import Training


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, so to say: JPEG of three classes, each of its own size."""
    root = tmp_path_factory.mktemp("photos")
    draws = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4)):
        for label in range(3):
            place = root / split / f"class{label}"
            place.mkdir(parents=True)
            for number in range(count):
                height, width = draws.integers(20, 60, 2)
                pixels = draws.integers(0, 160, (height, width, 3), dtype=np.uint8)
                pixels[..., label] += 95
                Image.fromarray(pixels).save(place / f"{number}.jpg", quality=95)
    return root


def data(folder: Path, **fields: Any) -> Data:
    return Data(str(folder), size=16, hold_out=4, crop_padding=1, **fields)


def test_memory_and_files_give_the_same(folder: Path) -> None:
    memory, disk = (load_dataset(data(folder, keep=keep)) for keep in ("memory", "disk"))
    assert (memory.shape, memory.classes) == (disk.shape, disk.classes) == ((3, 16, 16), 3)
    assert isinstance(disk.train, OnDisk)
    assert not isinstance(memory.train, OnDisk)
    assert torch.equal(memory.train.images, disk.train.images)
    assert torch.equal(memory.test.labels, disk.test.labels)
    rows = torch.tensor([5, 0, 31])
    assert torch.equal(memory.train[rows].images, disk.train[rows][torch.arange(3)].images)
    assert torch.equal(memory.train[3:9][1:].images, disk.train[3:9][1:].images)
    parts = list(torch.arange(36).split(5))
    for held, decoded in zip(memory.train.stream(parts), disk.train.stream(parts), strict=True):
        assert torch.equal(held.images, decoded.images)
        assert torch.equal(held.labels, decoded.labels)
    other = disk.test.labelled(torch.zeros(12, dtype=torch.int64))
    assert torch.equal(other.images, disk.test.images)
    assert other[:2].labels.tolist() == [0, 0]
    assert torch.equal(disk.test.joined(memory.test).images[12:], memory.test.images)


def test_a_training_from_files_is_bitwise_that_from_memory(folder: Path, tmp_path: Path) -> None:
    weights = []
    for keep in ("memory", "disk"):
        dataset, out = load_dataset(data(folder, keep=keep)), tmp_path / keep
        out.mkdir()
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(784, 3))

        class Quiet:
            def say(self, *_: object) -> None: ...
            def step(self, *_: object) -> None: ...
            def epoch(self, *_: object) -> None: ...

        machine = small_machine(out)
        Training(machine, EXPERIMENT, model, dataset.train, dataset.test, out, 1000, Quiet()).run()
        weights.append(torch.cat([value.flatten().float() for value in model.state_dict().values()]))
        weights.append(predictions(machine, model, dataset.test, EXPERIMENT))
    assert torch.equal(weights[0], weights[2])
    assert torch.equal(weights[1], weights[3])


def test_crops_are_out_of_the_whole_files_and_the_same_after_a_resume(folder: Path, tmp_path: Path) -> None:
    dataset = load_dataset(data(folder, keep="auto", crop_area=(0.2, 1.0)))
    assert isinstance(dataset.train, OnDisk)
    assert not isinstance(dataset.test, OnDisk)
    setting = replace(EXPERIMENT, data=data(folder, crop_area=(0.2, 1.0)))
    batches = []
    for part in ("first", "again"):
        (tmp_path / part).mkdir()
        training = small_training(tmp_path / part, setting)
        training.images = dataset.train
        order = torch.arange(36)
        batches.append([training.batch(order, step).images for step in (0, 1)])
        training.state.step = 1
        assert torch.equal(next(training._batches(order)).images, batches[-1][1])
    assert all(torch.equal(one, other) for one, other in zip(*batches, strict=True))
    training.state.epoch = 1
    assert not torch.equal(training.batch(order, 0).images, batches[0][0])
    squares = dataset.train[order[:8]].images
    assert not torch.equal(squares, batches[0][0])


def test_never_more_than_a_few_batches_are_in_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    really = on_disk.square
    monkeypatch.setattr(on_disk, "square", lambda path, size: decoded.append(path) or really(path, size))
    split = load_dataset(data(folder, keep="disk")).train
    assert decoded == []
    parts = split.stream(list(torch.arange(36).split(4)))
    next(parts)
    assert len(decoded) <= 4 * (1 + 2 + 1)  # what was asked for, two ahead, and perhaps one begun
    parts.close()  # type: ignore[attr-defined]
    assert len(decoded) < 36


BYTES = 48 * 3 * 16 * 16
"""What the images of the folder take."""


@pytest.mark.parametrize(
    ("here", "gpu", "needed", "in_files"),
    [
        (10**9, None, 10**6, False),
        (2 * BYTES + 999, None, 1000, True),
        (2 * BYTES + 1000, None, 1000, False),
        (4 * BYTES, None, None, False),
        (4 * BYTES - 1, None, None, True),
        (2 * BYTES, BYTES + 1000, 1000, False),
        (2 * BYTES - 1, BYTES + 1000, 1000, True),
        (2 * BYTES, BYTES + 999, 1000, True),
    ],
)
def test_what_memory_does_not_hold_beside_the_networks_stays_in_files(
    here: int, gpu: int | None, needed: int | None, in_files: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "here", lambda: here)
    monkeypatch.setattr(room, "on_gpu", lambda: gpu)
    asked = []
    found = load_dataset(data(folder), None if needed is None else lambda *image: asked.append(image) or needed)
    assert isinstance(found.train, OnDisk) is in_files
    assert asked == ([] if needed is None else [(3, (3, 16, 16))])


def test_free_memory_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = room.here()
    assert 10**6 < free < 10**14
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert room.here() == pytest.approx(free / 2, rel=0.2)
    assert fits([Files((Path("a"),) * 10, (0,) * 10, 32)], 0)
    assert not fits([Files((Path("a"),) * 10, (0,) * 10, 10**7)], 0)
    monkeypatch.setattr(room, "_GROUP", tmp_path)
    assert room._container() == float("inf")
    for name, text in {"max": "max\n", "current": "700\n", "stat": "anon 600\ninactive_file 60\nfile 9\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert room._container() == float("inf")
    (tmp_path / "memory.max").write_text("1000\n")
    assert room._container() == 1000 - (700 - 60)


def test_a_square_is_the_middle_of_the_image(tmp_path: Path) -> None:
    pixels = np.zeros((80, 160, 3), np.uint8)
    pixels[:, 40:120] = 255  # white in the middle
    Image.fromarray(pixels).save(tmp_path / "image.png")
    found = square(tmp_path / "image.png", 35)
    assert found.shape == (3, 35, 35)
    assert (found[:, :, 1:-1] > 250).all()


def test_the_fingerprint_is_of_names_sizes_and_labels_wherever_they_are_kept(folder: Path) -> None:
    def now(**fields: Any) -> str:
        return load_dataset(data(folder, **fields)).fingerprint()

    first = now(keep="disk")
    assert now(keep="memory") == first
    assert now(keep="disk", train_limit=35) != first
    path = folder / "train" / "class0" / "0.jpg"
    kept = path.read_bytes()
    try:
        path.write_bytes(kept + b"\0")
        assert now(keep="disk") != first
    finally:
        path.write_bytes(kept)


def test_what_is_shown_of_it_decodes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_disk, "square", None)
    assert repr(load_dataset(data(folder, keep="disk")).train) == "OnDisk(36 images of 16x16 in files)"


def spoil(folder: Path) -> Data:
    (folder / "train" / "class0" / "0.jpg").write_bytes(b"no image")
    return data(folder, keep="memory")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: Data(str(folder)), r"all must have one size, which --data\.size gives to folders of images"),
        (spoil, r"class0.0\.jpg is no readable image"),
        (lambda folder: data(folder / "train"), "holds no known data set"),
    ],
)
def test_folders_that_do_not_do(make: Callable[[Path], Data], message: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    with pytest.raises(DataError, match=message):
        load_dataset(make(tmp_path / "copy"))


def test_a_file_that_is_damaged_is_named_when_it_is_wanted(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "0.jpg"
    Image.new("RGB", (30, 30)).save(buffer := io.BytesIO(), "jpeg")
    path.write_bytes(buffer.getvalue()[:200])
    split = OnDisk(Files((path,), (0,), 16))
    with pytest.raises(DataError, match=r"0\.jpg is no readable image"):
        next(split.stream([torch.tensor([0])]))


def test_other_layouts_have_a_size() -> None:
    with pytest.raises(ValueError, match=r"data\.size must be at least 1, not 0"):
        Data(size=0)
