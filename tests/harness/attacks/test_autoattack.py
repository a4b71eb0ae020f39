from __future__ import annotations

import signal
import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from helpers import small_digits
from helpers.small_training import EXPERIMENT, small_machine
from helpers.tiny_run import HELPERS
from pyautoattack import AutoAttack
from torch import Tensor, nn

from reconfig.harness import verdicts
from reconfig.harness.attacks import autoattack
from reconfig.harness.attacks.autoattack import PREVIEW, STANDARD, AutoAttackError
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Compute, Evaluate, Threat
from reconfig.harness.machine.machine import Machine
from reconfig.harness.measuring.scores import scores
from reconfig.harness.watching import counted

FIRST = ("apgd-ce",)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official code with a few iterations in the place of hundreds, for us and for those who compare with it."""
    made = AutoAttack.__init__

    def quicker(self: AutoAttack, *args: object, **kwargs: object) -> None:
        made(self, *args, **kwargs)
        self.square.n_queries = 20
        self.apgd.n_iter = self.apgd_targeted.n_iter = 8
        self.fab.n_iter = 3

    monkeypatch.setattr(AutoAttack, "__init__", quicker)


def official(split: Split, threat: Threat, attacks: tuple[str, ...], batch: int) -> Tensor:
    """The verdicts of pyautoattack itself."""
    norm = {"linf": "Linf", "l2": "L2"}[threat.norm]
    model = small_digits.network()
    attacker = AutoAttack(model, eps=float(threat.eps), norm=norm, seed=7, version="standard")
    attacker.attacks_to_run = list(attacks)
    _, answers = attacker.run_standard_evaluation(split.images.float() / 255, split.labels, batch_size=batch)
    return answers == split.labels


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("threat", [small_digits.THREAT, Threat("l2", Fraction(1))], ids=lambda threat: threat.norm)
def test_one_shard_has_the_verdicts_of_the_official_code(machine: Machine, tmp_path: Path, threat: Threat) -> None:
    split = small_digits.unseen(40)
    ours = autoattack.attack(
        machine, small_digits.network(), split, small_digits.in_shards(40, 16, threat), FIRST, tmp_path / "aa"
    )
    assert torch.equal(ours, official(split, threat, FIRST, 16))
    assert 0 < ours.sum() < 38


@pytest.mark.usefixtures("quick")
def test_shards_have_the_verdicts_of_the_official_code_on_each(machine: Machine, tmp_path: Path) -> None:
    split, out = small_digits.unseen(40), tmp_path / "aa"
    torch.manual_seed(1)
    before = torch.get_rng_state()
    ours = autoattack.attack(machine, small_digits.network(), split, small_digits.in_shards(16), FIRST, out)
    assert torch.equal(torch.get_rng_state(), before)
    parts = [split[first : first + 16] for first in (0, 16, 32)]
    assert torch.equal(ours, torch.cat([official(part, small_digits.THREAT, FIRST, 16) for part in parts]))
    names = ["000000-000016.safetensors", "000016-000032.safetensors", "000032-000040.safetensors"]
    assert sorted(path.name for path in out.iterdir()) == names


@pytest.mark.usefixtures("quick")
def test_only_missing_shards_are_run_and_a_run_may_be_extended(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out, ran = small_digits.network(), tmp_path / "aa", []
    run = autoattack._Official.standing
    monkeypatch.setattr(
        autoattack._Official, "standing", lambda self, *args: ran.append(len(args[1])) or run(self, *args)
    )
    whole = autoattack.attack(machine, model, small_digits.unseen(30), small_digits.in_shards(10), FIRST, out)
    assert ran == [10, 10, 10]
    (out / "000010-000020.safetensors").unlink()
    assert torch.equal(
        autoattack.attack(machine, model, small_digits.unseen(30), small_digits.in_shards(10), FIRST, out),
        whole,
    )
    assert ran == [10] * 4
    more = autoattack.attack(machine, model, small_digits.unseen(45), small_digits.in_shards(10), FIRST, out)
    assert ran == [10] * 5 + [5]
    assert torch.equal(more[:30], whole)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("killed", [0, 3])
def test_a_kill_costs_one_attack(
    machine: Machine, tmp_path: Path, killed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before one of the attacks of the second shard, it goes on there, to the official verdicts."""
    model, split, out = small_digits.network(), small_digits.unseen(12), tmp_path / "aa"
    setting, run, ran = small_digits.in_shards(6, 4), autoattack._Official.standing, []

    def dying(self: autoattack._Official, name: str, *rest: Any) -> Tensor:
        if len(ran) == 4 + killed:
            raise KeyboardInterrupt
        ran.append(name)
        return run(self, name, *rest)

    monkeypatch.setattr(autoattack._Official, "standing", dying)
    with pytest.raises(KeyboardInterrupt):
        autoattack.attack(machine, model, split, setting, STANDARD, out)
    ran.append("killed")
    found = autoattack.attack(machine, model, split, setting, STANDARD, out)
    assert ran == [*STANDARD, *STANDARD[:killed], "killed", *STANDARD[killed:]]
    halves = [official(split[first : first + 6], small_digits.THREAT, STANDARD, 4) for first in (0, 6)]
    assert torch.equal(found, torch.cat(halves))


class Firm(nn.Module):
    """Answers 0, whatever it is shown."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.bias = torch.tensor([9.0, *([0.0] * (classes - 1))])

    def forward(self, images: Tensor) -> Tensor:
        return self.bias + images.flatten(1)[:, : len(self.bias)] * torch.linspace(0, 1, len(self.bias))


class Counting:
    """Hears of runs."""

    def __init__(self) -> None:
        self.gradients = self.runs = 0

    def ran(self, images: int, gradient: bool) -> None:
        self.gradients += images * gradient
        self.runs += images * (not gradient)


@pytest.mark.parametrize("classes", [10, 5])
def test_the_passes_of_each_attack_are_those_that_it_makes(machine: Machine, classes: int) -> None:
    """Counted for an image that stands to the end: they are what the time left is reckoned from."""
    model, images, labels = Firm(classes), torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.long)
    run = autoattack._Official(machine, model, small_digits.in_shards(1), classes)
    for name in STANDARD:
        counts: Any = Counting()
        with counted(model, counts):
            assert run.standing(name, images, labels, torch.ones(4, dtype=torch.bool), None).all()
        passes = autoattack.passes(name, classes)
        assert counts.gradients / 4 == pytest.approx(passes.gradients, rel=0.02)
        assert counts.runs / 4 == pytest.approx(passes.runs, rel=0.02)


@pytest.mark.usefixtures("quick")
def test_processes_take_turns_and_both_see_all_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, model, split, out = (
        small_machine(tmp_path),
        small_digits.network(),
        small_digits.unseen(40),
        tmp_path / "aa",
    )
    alone = autoattack.attack(machine, model, split, small_digits.in_shards(10), FIRST, tmp_path / "alone")

    class Half:
        """A process of two, which does not wait for the other."""

        num_processes = 2

        def __init__(self, process_index: int) -> None:
            self.process_index, self.device = process_index, machine.device

        def wait_for_everyone(self) -> None:
            pass

    with pytest.raises(verdicts.VerdictError, match=r"000010-000020.safetensors"):  # the other has not done its part
        autoattack.attack(Machine(Half(0), machine.compute), model, split, small_digits.in_shards(10), FIRST, out)
    assert [path.name[:6] for path in sorted(out.iterdir())] == ["000000", "000020"]
    assert torch.equal(
        autoattack.attack(Machine(Half(1), machine.compute), model, split, small_digits.in_shards(10), FIRST, out),
        alone,
    )


@pytest.mark.usefixtures("quick")
def test_shards_of_another_network_or_setting_are_refused(machine: Machine, tmp_path: Path) -> None:
    split, out = small_digits.unseen(10), tmp_path / "aa"
    autoattack.attack(machine, small_digits.network(), split, small_digits.in_shards(10), FIRST, out)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(AutoAttackError, match=r"is of another run \(weights is \w+, not \w+\).*remove .*aa to attack"):
        autoattack.attack(machine, other, split, small_digits.in_shards(10), FIRST, out)
    with pytest.raises(AutoAttackError, match=r"eps is 1/8, not 1/4; attacks is apgd-ce, not apgd-ce apgd-t"):
        autoattack.attack(
            machine,
            small_digits.network(),
            split,
            small_digits.in_shards(10, threat=Threat(eps=Fraction(1, 4))),
            PREVIEW,
            out,
        )
    with pytest.raises(AutoAttackError, match=r"images is \w+, not \w+"):
        autoattack.attack(
            machine,
            small_digits.network(),
            Split(split.images.flip(0), split.labels),
            small_digits.in_shards(10),
            FIRST,
            out,
        )


def test_few_classes_are_refused_before_anything_is_written(machine: Machine, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(AutoAttackError, match=r"at least 4 classes .* this network has 3; measure it with"):
        autoattack.attack(
            machine, model, small_digits.unseen(10), small_digits.in_shards(10), STANDARD, tmp_path / "aa"
        )
    assert not (tmp_path / "aa").exists()


@pytest.mark.usefixtures("quick")
def test_networks_with_fewer_classes_than_targets_in_bfloat16_and_training_mode(
    machine: Machine, tmp_path: Path
) -> None:
    """What the official code does not take by itself: 5 classes, bfloat16 logits, a network left in training mode."""

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 5))

        def forward(self, images: Tensor) -> Tensor:
            assert not self.training
            return self.layers(images).bfloat16()

    model = Odd()
    images = small_digits.unseen(12).images
    # Its own answers, in a ball so small that images stand to the last of the four attacks.
    labels = model.layers.eval()(images.float() / 255).argmax(1)
    setting = small_digits.in_shards(12, threat=Threat(eps=Fraction(1, 1000)))
    standing = autoattack.attack(machine, model.train(), Split(images, labels), setting, STANDARD, tmp_path / "aa")
    assert model.training
    assert standing.sum() > 6


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_channels_last_gives_the_verdicts_of_the_usual_layout(norm: Literal["linf", "l2"], tmp_path: Path) -> None:
    """The official code views images and gradients of more than one channel as vectors, which no NHWC tensor is."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5)).eval()
    images = torch.randint(256, (12, 3, 8, 8), dtype=torch.uint8)
    split = Split(images, model(images.float() / 255).argmax(1).detach())
    setting = small_digits.in_shards(12, threat=Threat(norm, Fraction(1, {"linf": 200, "l2": 10}[norm])))
    found, seen = [], []
    model[0].register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    for last in (False, True):
        computer = small_machine(tmp_path, Compute("cpu", channels_last=last))
        seen.clear()
        network = computer.set_up(deepcopy(model))
        found.append(autoattack.attack(computer, network, split, setting, STANDARD, tmp_path / str(last)))
        assert set(seen) == {last}
    assert 0 < found[0].sum() < 12
    assert torch.equal(*found)


def test_the_preview_is_kept_apart_from_autoattack(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def standing(_self: object, name: str, images: Tensor, *_: object) -> Tensor:
        asked.append(name)
        return torch.ones(len(images), dtype=torch.bool)

    monkeypatch.setattr(autoattack._Official, "standing", standing)
    setting = replace(EXPERIMENT, evaluate=Evaluate(attacks=("aa", "preview"), aa_images=15, aa_shard=10))
    measured = scores(machine, small_digits.network(), small_digits.unseen(20), setting, tmp_path)
    assert asked == [*STANDARD * 2, *PREVIEW * 2]
    assert (measured["aa"], measured["preview"]) == (100, 100)
    assert sorted(path.name for path in (tmp_path / "aa").iterdir()) == sorted(
        path.name for path in (tmp_path / "preview").iterdir()
    )
    held, _ = verdicts.read(tmp_path / "verdicts.safetensors")
    assert (len(held["aa"]), len(held["clean"])) == (15, 20)


def whole_shards(folder: Path) -> dict[Path, int]:
    """The shards that all attacks are done on, with when they were written: each is written after every attack."""
    return {
        path: path.stat().st_mtime_ns
        for path in folder.glob("*.safetensors")
        if verdicts.read(path)[1]["done"] == " ".join(STANDARD)
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_200_images_whole_and_in_4_shards_killed_and_resumed_equal_the_official_code(
    machine: Machine, tmp_path: Path
) -> None:
    split, threat = small_digits.unseen(200), small_digits.THREAT
    whole = autoattack.attack(
        machine, small_digits.network(), split, small_digits.in_shards(200), STANDARD, tmp_path / "whole"
    )
    theirs = official(split, threat, STANDARD, 200)
    assert torch.equal(whole, theirs)
    assert 60 < whole.sum() < 160

    torch.save(small_digits.network().state_dict(), tmp_path / "weights.pt")
    command = [sys.executable, str(HELPERS / "autoattack_shards.py"), str(tmp_path)]
    kills = 0
    for done in (1, 3):  # killed in the second and in the fourth shard
        process = subprocess.Popen(command)
        while len(whole_shards(tmp_path / "aa")) < done:
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += not (tmp_path / "found.pt").exists()
    finished = whole_shards(tmp_path / "aa")
    assert kills == 2
    assert len(finished) == 3
    subprocess.run(command, check=True)
    assert {path: when for path, when in whole_shards(tmp_path / "aa").items() if path in finished} == finished
    shards = torch.load(tmp_path / "found.pt")
    parts = [official(split[first : first + 50], threat, STANDARD, 50) for first in range(0, 200, 50)]
    assert torch.equal(shards, torch.cat(parts))
    print(f"whole {whole.sum()}, in shards {shards.sum()} of 200; {(whole != shards).sum()} verdicts differ")
    assert (whole != shards).sum() <= 2  # other random numbers, so rare images may fall the other way
