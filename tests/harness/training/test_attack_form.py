"""The form of a training's attack: chosen once, the same after a kill, and no other training for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.small_training import EXPERIMENT, Quiet, small_network, small_training
from torch import nn

from reconfig.harness import files
from reconfig.harness.attacks.gradient import perturb
from reconfig.harness.data.dataset import load_dataset
from reconfig.harness.experiment import Attack, AttackForm, Compute, Data, Setting, Threat, Train
from reconfig.harness.files import CheckpointError
from reconfig.harness.machine.folding import Folded, fixed, in_form
from reconfig.harness.training import attack_form
from reconfig.harness.training.attack_form import NAME
from reconfig.harness.training.training import Training


class Listener(Quiet):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


def training(folder: Path, form: AttackForm, watcher: Quiet | None = None, epochs: int = 2) -> Training:
    folder.mkdir(exist_ok=True)
    compute = Compute("cpu", attack=form)
    experiment = replace(EXPERIMENT, compute=compute, train=replace(EXPERIMENT.train, epochs=epochs))
    return small_training(folder, experiment, small_network(), compute=compute, watcher=watcher)


def weights(trained: Training) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in trained.model.state_dict().values()])


def force(monkeypatch: pytest.MonkeyPatch, ratios: dict[AttackForm, float]) -> None:
    monkeypatch.setattr(attack_form, "measure", lambda *_: ratios)


def test_the_quickest_is_taken_said_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch, {"plain": 1.0, "folded": 1.25, "tiled": 0.5})
    listener = Listener()
    first = training(tmp_path / "run", "auto", listener)
    assert isinstance(first.attacked, Folded)
    assert listener.said == ["attack form: folded (times as fast as plain: plain 1.00, folded 1.25, tiled 0.50)"]
    held = files.read_json(tmp_path / "run" / NAME)
    assert held == {
        "chosen": "folded",
        "times_as_fast_as_plain": {"plain": 1, "folded": 1.25, "tiled": 0.5},
        "images": 8,
    }
    force(monkeypatch, {"plain": 1.0, "folded": 0.5})
    assert isinstance(training(tmp_path / "run", "auto").attacked, Folded)
    assert training(tmp_path / "other", "auto").attacked is not first.attacked
    assert not isinstance(training(tmp_path / "other", "auto").attacked, Folded)


def test_it_measures_every_form_and_leaves_the_network_alone(tmp_path: Path) -> None:
    plain, auto = training(tmp_path / "plain", "plain"), training(tmp_path / "auto", "auto")
    ratios = files.read_json(tmp_path / "auto" / NAME)["times_as_fast_as_plain"]
    assert list(ratios) == ["plain", "folded", "folded-channels-last", "tiled"]
    assert ratios["plain"] == 1
    assert all(ratio > 0 for ratio in ratios.values())
    assert torch.equal(weights(plain), weights(auto))


def test_what_a_form_makes_once_counts_once_however_long_the_attack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock on which a step takes a second, and in a folded form half of that, but 3 for what it makes."""
    clock, prepared = [0.0], set[int]()

    def attacked(network: nn.Module, images: torch.Tensor, labels: object, threat: object, attack: Attack) -> None:
        if isinstance(network, Folded):
            clock[0] += 3 * (id(network) not in prepared)
            prepared.add(id(network))
        clock[0] += attack.steps * len(images) * (0.5 if isinstance(network, Folded) else 1)

    @contextmanager
    def anew(network: nn.Module) -> Iterator[None]:
        prepared.discard(id(network))
        yield

    made = training(tmp_path / "run", "plain")
    monkeypatch.setattr(attack_form, "perturb", attacked)
    monkeypatch.setattr(attack_form, "fixed", anew)
    monkeypatch.setattr(attack_form, "_now", lambda _: clock[0])
    images = torch.zeros(8, 3, 8, 8)
    for steps in (1, 10):
        setting = replace(EXPERIMENT, train=replace(EXPERIMENT.train, attack=Attack(steps=steps)))
        ratios = attack_form.measure(made.machine, setting, made.running, images)
        one_image = 1
        plain, folded = one_image + 8 * steps, 3 + (one_image + 8 * steps) / 2
        assert ratios == dict.fromkeys(ratios, round(plain / folded, 3)) | {"plain": 1}


class KilledError(Exception):
    pass


class Killer(Quiet):
    def step(self, epoch: int, step: int, steps: int, loss: torch.Tensor) -> None:
        if (epoch, step) == (1, 2):
            raise KilledError


def test_a_resumed_training_ends_in_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    force(monkeypatch, {"plain": 1.0, "folded-channels-last": 2.0})
    whole = training(tmp_path / "whole", "auto")
    whole.run()
    with pytest.raises(KilledError):
        training(tmp_path / "parts", "auto", Killer()).run()
    force(monkeypatch, {"plain": 1.0})
    resumed = training(tmp_path / "parts", "auto")
    assert (resumed.state.epoch, resumed.state.step) == (1, 1)
    resumed.run()
    assert torch.equal(weights(whole), weights(resumed))


@pytest.mark.parametrize("form", ["folded", "folded-channels-last", "tiled"])
@pytest.mark.parametrize("method", ["sat", "trades"])
def test_a_form_changes_the_training_by_rounding_alone(tmp_path: Path, form: AttackForm, method: str) -> None:
    adversarial = []
    for each in ("plain", form):
        folder = tmp_path / each
        folder.mkdir()
        compute = Compute("cpu", attack=each)
        experiment = replace(EXPERIMENT, compute=compute, train=replace(EXPERIMENT.train, method=method))
        made = small_training(folder, experiment, compute=compute)
        made.network.train()
        torch.nn.init.uniform_(made.model[1].running_mean, -0.2, 0.2, generator=torch.Generator().manual_seed(0))
        draws = torch.Generator().manual_seed(0)
        images = torch.rand(8, 3, 8, 8, generator=draws)
        start = 0.01 * torch.randn(8, 3, 8, 8, generator=draws)
        adversarial.append(made.attack(images, torch.arange(8) % 3, start))
        assert all(module.training for module in made.model.modules())
    plain, other = adversarial
    assert (plain - images).abs().max() > 0.02
    assert ((plain - other).abs() > 1e-6).float().mean() < 0.01


def test_a_lost_or_damaged_choice_is_no_new_one(tmp_path: Path) -> None:
    training(tmp_path / "run", "auto", epochs=1).run()
    path = tmp_path / "run" / NAME
    files.write_json(path, {"chosen": "quick"})
    with pytest.raises(CheckpointError, match=r"names no form of an attack: 'quick'. Put back a copy, or give another"):
        training(tmp_path / "run", "auto")
    path.unlink()
    with pytest.raises(CheckpointError, match=r"which says how the attack was computed, is missing. Put back a copy"):
        training(tmp_path / "run", "auto")


def test_forms_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"compute.attack is folded, and compute.compile compiles"):
        Compute(attack="folded", compile=True)
    with pytest.raises(ValueError, match=r"compute.attack tiled needs the network in eval mode"):
        Setting(train=Train(attack_mode="train"), compute=Compute(attack="tiled"))


@pytest.mark.slow
def test_every_form_gives_the_same_verdicts_on_a_trained_network() -> None:
    torch.manual_seed(0)
    digits = load_dataset(Data("digits"))
    layers = [
        nn.Sequential(nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())
        for into, out, stride in ((digits.shape[0], 64, 1), (64, 128, 2), (128, 128, 1), (128, 128, 1))
    ]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, digits.classes))
    threat = Threat()
    images, labels = digits.train.images[:, :, ::2, ::2].float() / 255, digits.train.labels
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    for _ in range(4):
        for chosen in torch.randperm(len(labels)).split(64):
            attacked = perturb(model.eval(), images[chosen], labels[chosen], threat, Attack(steps=2))
            loss = nn.functional.cross_entropy(model.train()(attacked), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    images, labels = digits.test.images[:, :, ::2, ::2].float() / 255, digits.test.labels

    @torch.no_grad()
    def right(network: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        return network(pixels).argmax(1) == labels

    clean, robust = {}, {}
    for form in ("plain", "folded", "folded-channels-last", "tiled"):
        network = in_form(form, model, images[:2])
        with fixed(network):
            torch.manual_seed(1)
            attacked = perturb(network, images, labels, threat, Attack(steps=20))
            clean[form], robust[form] = right(network, images), right(model, attacked)
    assert 0.5 < robust["plain"].float().mean() < clean["plain"].float().mean() < 1
    for form, verdicts in robust.items():
        assert torch.equal(clean[form], clean["plain"]), form
        assert (verdicts == robust["plain"]).float().mean() >= 0.999, form
