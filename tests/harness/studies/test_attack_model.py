"""``attack.py --network``: a model of one's own is looked at, and then measured."""

from __future__ import annotations

import re
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from helpers import small_digits
from helpers.small_training import small_machine
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.transforms.functional import normalize

import reconfig
from benchmarks import attack as command_line
from reconfig import networks
from reconfig.harness import Data, as_floats, files, load_dataset
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Threat
from reconfig.harness.measuring import soundness
from reconfig.harness.measuring.soundness import UnsoundError
from reconfig.harness.normalised import KNOWN, Normalised
from reconfig.harness.own_weights import load

FILE = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, num_classes=10):
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, padding=1, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
            nn.Linear(256, num_classes),
        )
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a network; its weights beside it, after a training on digits that know [-1, 1] alone."""
    path = tmp_path_factory.mktemp("own") / "mine_net.py"
    path.write_text(FILE)
    train = load_dataset(Data("digits")).train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = networks.build(f"{path}:Net")
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(120):
            rows = torch.randint(len(train), (64,))
            loss = nn.functional.cross_entropy(model(as_floats(train.images[rows]) * 2 - 1), train.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    save_file(model.state_dict(), path.with_name("weights.safetensors"))
    wrapped = {f"module.{name}": value for name, value in model.state_dict().items()}  # as DataParallel has it
    torch.save({"epoch": 3, "state_dict": wrapped}, path.with_name("w.pt"))
    return path


def attack(
    monkeypatch: pytest.MonkeyPatch, own: Path, out: Path, *more: str, weights: str = "weights.safetensors"
) -> int:
    AcceleratorState._reset_state(reset_partial_state=True)
    flags = ["--network", f"{own}:Net", "--weights", str(own.with_name(weights)), "--data", "digits", "--out", str(out)]
    fixed = ["--images", "60", "--attacks", "fgsm", "pgd20", "--threat.eps", "8/255", "--compute.device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["attack.py", *flags, *fixed, *more])
    return command_line.main()


RANGE = ["--mean", "0.5", "0.5", "0.5", "--std", "0.5", "0.5", "0.5"]


@pytest.mark.parametrize("weights", ["weights.safetensors", "w.pt"])
def test_a_model_of_one_s_own_is_measured(
    own: Path, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attack(monkeypatch, own, tmp_path / "out", *RANGE, weights=weights) == 0
    printed = capsys.readouterr().out
    assert "mine_net.py:Net on 60 test images of digits" in printed
    assert "linf eps 8/255" in printed
    result = files.read_json(tmp_path / "out" / "result.json")
    scores = result["scores"]
    assert scores["clean"] > 80
    assert scores["clean"] > scores["fgsm"] >= scores["pgd20"]
    assert result["options"]["threat"]["eps"] == "8/255"
    assert result["notes"] == []


def test_normalisation_outside_the_model_is_found_before_a_number_is_said(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attack(monkeypatch, own, tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert re.search(
        r"of 60 images in \[0, 1\] the network gets [\d.]+ % right, and [\d.]+ % where they are normalised "
        r"\((plus-minus-one|cifar10|cifar100|imagenet)\).*Give --mean 0\.\d+ 0\.\d+ 0\.\d+ --std",
        captured.err,
    )
    assert "PGD" not in captured.out
    assert not (tmp_path / "out").exists()


def test_autoattack_goes_on_with_what_the_folder_has_of_this_model_alone(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    few = ["--images", "4", "--attacks", "preview", *RANGE]
    assert attack(monkeypatch, own, out, *few) == 0
    shard = next((out / "preview").iterdir())
    written = shard.stat().st_mtime_ns
    assert attack(monkeypatch, own, out, *few) == 0
    assert shard.stat().st_mtime_ns == written
    capsys.readouterr()
    other = {name: value + 0.01 for name, value in networks.build(f"{own}:Net").state_dict().items()}
    save_file(other, own.with_name("other.safetensors"))
    assert attack(monkeypatch, own, out, *few, weights="other.safetensors") == 1
    assert "is of other weights; nothing was changed. Give another --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"0.weight": torch.zeros(8, 3, 3, 3)}, r"0\.bias is missing; 1\.weight is missing; .* and \d+ more"),
        ({"model": nn.Linear(2, 2)}, r"holds more than tensors and plain values.*model\.state_dict\(\)"),
        ([1, 2], "holds a list, not the state dict of a network"),
    ],
)
def test_weights_of_something_else_are_refused(
    content: Any, message: str, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    path = own.with_name("wrong.pt")
    torch.save(content, path)
    assert attack(monkeypatch, own, tmp_path / "out", weights="wrong.pt") == 1
    assert re.search(message, capsys.readouterr().err)


def test_a_file_with_a_plan_gives_the_planned_network(own: Path) -> None:
    model = networks.build(f"{own}:Net")
    plan = reconfig.plan(model, "10-4", example_input=torch.zeros(1, 3, 32, 32))
    robust = plan.apply(model)
    reconfig.save(robust, own.with_name("planned.safetensors"), plan)
    loaded = load(f"{own}:Net", own.with_name("planned.safetensors"), 10)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(images), robust.eval()(images))


# ---------------------------------------------------------------- what others get wrong


class Wrapped(nn.Module):
    """The small network of digits with something around it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_digits.network()

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images)


class Dropping(Wrapped):
    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.dropout(self.inner(images), 0.1)


class Noisy(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images + 0.1 * torch.randn_like(images)


class NoisyInside(Wrapped):
    def __init__(self) -> None:
        super().__init__()
        self.noise = Noisy()

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(self.noise(images))


class OfTheBatch(Wrapped):
    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images / images.std())


class Detached(Wrapped):
    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images.detach())


class Rounded(Wrapped):
    def forward(self, images: Tensor) -> Tensor:
        return self.inner((images * 15).round() / 15)


class Softmax(Wrapped):
    def forward(self, images: Tensor) -> Tensor:
        return (20 * self.inner(images)).softmax(1)


class NotANumber(Wrapped):
    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images).log()


class Steep(Wrapped):
    def forward(self, images: Tensor) -> Tensor:
        return 1000 * self.inner(images)


def look(model: nn.Module, tmp_path: Path, classes: int = 10, threat: Threat = small_digits.THREAT) -> list[str]:
    machine = small_machine(tmp_path)
    return soundness.check(machine, model, small_digits.unseen(100), classes, threat)


def test_a_sound_model_is_let_pass(tmp_path: Path) -> None:
    model = Wrapped().train()
    assert look(model, tmp_path) == []
    assert model.training


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Dropping, r"differently each time, beginning in Dropping\.forward: dropout left on"),
        (NoisyInside, r"differently each time, beginning in module 'noise' \(Noisy\)"),
        (OfTheBatch, "depends on the others of its batch"),
        (Detached, r"cannot be differentiated to the images \(a \.detach\(\)"),
        (NotANumber, "not finite numbers"),
    ],
)
def test_a_model_whose_figures_would_mean_nothing_is_refused(
    model: type[nn.Module], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UnsoundError, match=message):
        look(model(), tmp_path)


def test_other_classes_and_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsoundError, match=r"answers \(100, 10\) for 100 images of 7 classes: one tensor \[N, 7\]"):
        look(Wrapped(), tmp_path, classes=7)
    split = Split(torch.zeros(20, 3, 8, 8, dtype=torch.uint8), torch.zeros(20, dtype=torch.int64))
    with pytest.raises(UnsoundError, match=r"does not take images \[20, 3, 8, 8\] in \[0, 1\]: RuntimeError"):
        soundness.check(small_machine(tmp_path), Wrapped(), split, 10, Threat())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Softmax, "the answers are probabilities"),
        (Steep, r"\d+ % of images have no gradient of the cross-entropy at all"),
        (Rounded, r"100 % of images have no gradient of the cross-entropy at all"),
    ],
)
def test_what_misleads_attacks_is_said(model: type[nn.Module], message: str, tmp_path: Path) -> None:
    assert any(re.search(message, doubt) for doubt in look(model(), tmp_path))


@pytest.mark.parametrize(
    ("eps", "message"),
    [
        (Fraction("0.031"), "eps is 31/1000, which is not 8/255"),
        (Fraction(8), r"eps 8 is more than a quarter of the range of images, \[0, 1\]: eps 8 of 255 is written 8/255"),
    ],
)
def test_an_eps_that_is_not_what_others_use_is_said(eps: Fraction, message: str, tmp_path: Path) -> None:
    assert any(re.search(message, doubt) for doubt in look(Wrapped(), tmp_path, threat=Threat(eps=eps)))


def test_normalisation_is_part_of_the_network() -> None:
    images = torch.rand(2, 3, 4, 4)
    model = Normalised(nn.Identity(), *KNOWN["imagenet"])
    assert torch.allclose(model(images), normalize(images, *KNOWN["imagenet"]))
    assert list(model.state_dict()) == ["mean", "std"]
