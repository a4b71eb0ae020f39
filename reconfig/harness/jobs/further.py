"""Measures of a finished job, taken later: further attacks, or the same on more images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from reconfig.harness import checkpoints
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Measured, Setting
from reconfig.harness.jobs.outcome import CHECKPOINTS, Outcome, enter
from reconfig.harness.machine.machine import Machine
from reconfig.harness.measuring.scores import computations, read_verdicts, scores
from reconfig.harness.watching import Watch

_LIMITED = ("aa", "preview")
"""What ``evaluate.aa_images`` limits."""


def missing(folder: Path, outcome: Outcome, setting: Setting, images: int) -> dict[str, tuple[Measured, ...]]:
    """What ``setting`` asks for and the finished job in ``folder`` has not, by the checkpoint to be measured.

    ``images`` is how many test images there are. AutoAttack is missing too where it was given fewer than are wanted.

    Raises:
        VerdictError: If what was kept of an earlier measure is damaged.
    """
    found: dict[str, tuple[Measured, ...]] = {}
    for measured in dict.fromkeys(outcome.measured(name) for name in CHECKPOINTS):
        right = read_verdicts(folder / measured).right
        wanted = min(images, setting.evaluate.aa_images or images)
        lacking = tuple(
            name
            for name in setting.evaluate.attacks
            if name not in outcome.scores[measured] or (name in _LIMITED and len(right.get(name, ())) < wanted)
        )
        if lacking:
            found[measured] = lacking
    return found


def load_finished(computer: Machine, folder: Path, checkpoint: str, classes: int) -> nn.Module:
    """The network of a checkpoint of the job in ``folder``, on the device and bare of what training made of it.

    Raises:
        CheckpointError: If the checkpoint is damaged or of another network.
    """
    return computer.set_up(checkpoints.load_network(folder / f"{checkpoint}.pt", classes))


def measure_further(
    computer: Machine,
    folder: Path,
    checkpoint: str,
    classes: int,
    test: Split,
    setting: Setting,
    measures: Sequence[Measured],
    watch: Watch | None = None,
) -> dict[str, float]:
    """Take ``measures`` of a checkpoint, and enter them in the outcome of the finished job in ``folder``.

    Raises:
        ReconfigError: One of its subclasses, where the network cannot be loaded or a measure cannot be taken.
    """
    model = load_finished(computer, folder, checkpoint, classes)
    asked = replace(setting, evaluate=replace(setting.evaluate, attacks=tuple(measures)))
    found = scores(computer, model, test, asked, folder / checkpoint, watch)
    values: dict[str, float] = {name: found[name] for name in measures}
    if computer.main:
        enter(folder, checkpoint, values, computations(computer, asked, measures))
    computer.accelerator.wait_for_everyone()
    return values
