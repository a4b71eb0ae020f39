"""In which form the attack of a training runs its network, and which is quickest: chosen once, then kept.

All forms compute the same function in float32; they round differently.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn

from reconfig.harness import files
from reconfig.harness.attacks.gradient import perturb
from reconfig.harness.experiment import Attack, AttackForm, Setting
from reconfig.harness.files import CheckpointError
from reconfig.harness.machine.folding import fixed, in_form
from reconfig.harness.machine.machine import Machine

NAME = "attack_form.json"
"""The file beside a training's checkpoints that holds what was chosen, and the measured ratios."""
_ROUNDS = 3
_ATTACK = Attack(steps=2)


def decide(
    machine: Machine, setting: Setting, model: nn.Module, images: Tensor, folder: Path, say: Callable[[str], object]
) -> AttackForm:
    """The form that the machine is asked for; for auto the one that ``folder`` holds, or else the quickest now.

    Args:
        machine: where it runs, and in which form. Its main process decides for all.
        setting: has the threat.
        model: runs as the training's does; stays as it is.
        images: [N, C, H, W] of the size and number that a process attacks.
        folder: of the training's checkpoints.
        say: is told what was measured.

    Raises:
        CheckpointError: If the training was begun and what was chosen is lost or damaged.
    """
    if machine.compute.attack != "auto":
        return machine.compute.attack
    chosen: list[AttackForm] = ["plain"]
    if machine.main:
        chosen = [_read_or_measure(machine, setting, model, images, folder, say)]
    return broadcast_object_list(chosen)[0]


def _read_or_measure(
    machine: Machine, setting: Setting, model: nn.Module, images: Tensor, folder: Path, say: Callable[[str], object]
) -> AttackForm:
    path = folder / NAME
    remedy = "Put back a copy, or give another --out"
    if path.exists():
        found = files.read_json(path, remedy).get("chosen")
        if found not in _forms(machine):
            raise CheckpointError(f"{path} names no form of an attack: {found!r}. {remedy}")
        return found
    if (folder / "last.pt").exists():
        raise CheckpointError(f"{path}, which says how the attack was computed, is missing. {remedy}")
    ratios = measure(machine, setting, model, images)
    best = max(ratios, key=lambda form: ratios[form])
    files.write_json(path, {"chosen": best, "times_as_fast_as_plain": ratios, "images": len(images)})
    shown = ", ".join(f"{form} {ratio:.2f}" for form, ratio in ratios.items())
    say(f"attack form: {best} (times as fast as plain: {shown})")
    return best


def measure(machine: Machine, setting: Setting, model: nn.Module, images: Tensor) -> dict[AttackForm, float]:
    """How many times as fast as plain each form makes a training's attack on ``images``.

    Medians over rounds in which all take turns. What a form makes of the weights once an attack is timed by itself, on
    one image, and a few steps stand for the training's.
    """
    labels = torch.zeros(len(images), dtype=torch.long, device=images.device)
    times = setting.train.attack.steps / _ATTACK.steps
    networks = {form: in_form(form, model, images[:2]) for form in _forms(machine)}
    seconds: dict[AttackForm, list[float]] = {form: [] for form in networks}
    for turn in range(-1, _ROUNDS):
        for form, network in networks.items():
            with fixed(network):
                began = _now(images.device)
                perturb(network, images[:1], labels[:1], setting.threat, Attack(steps=1))
                made = _now(images.device)
                perturb(network, images, labels, setting.threat, _ATTACK)
            if turn >= 0:
                seconds[form].append(made - began + times * (_now(images.device) - made))
    plain = seconds["plain"]
    return {
        form: round(statistics.median(before / now for before, now in zip(plain, each, strict=True)), 3)
        for form, each in seconds.items()
    }


def _forms(machine: Machine) -> tuple[AttackForm, ...]:
    forms: tuple[AttackForm, ...] = ("plain", "folded", "folded-channels-last", "tiled")
    return forms if machine.device.type == "cpu" else forms[:-1]


def _now(device: torch.device) -> float:
    """Seconds on a clock: with one thread the processor's, which other programs do not hasten or delay."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()
