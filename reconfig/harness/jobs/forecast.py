"""How long a network takes to be trained and measured, before it is: from a step and a batch that are timed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from reconfig.harness import checkpoints
from reconfig.harness.attacks.gradient import ATTACKS
from reconfig.harness.data.dataset import Dataset
from reconfig.harness.data.division import divide
from reconfig.harness.experiment import Setting
from reconfig.harness.jobs.job import Job
from reconfig.harness.jobs.network import build_network, plan_network
from reconfig.harness.jobs.outcome import CHECKPOINTS
from reconfig.harness.machine.machine import Machine
from reconfig.harness.measuring.predictions import SELECTION
from reconfig.harness.measuring.scores import ahead
from reconfig.harness.measuring.timing import ENOUGH, FIRST, seconds, timed
from reconfig.harness.network import Network
from reconfig.harness.normalised import Moments
from reconfig.harness.training.training import Training
from reconfig.harness.watching import Passes


class _Unwatched:
    def say(self, line: str) -> None: ...
    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None: ...
    def epoch(self, row: dict[str, Any], steps: int) -> None: ...


@dataclass(frozen=True)
class Times:
    """Seconds of one network on one worker."""

    epoch: float
    """Of training, with the selection at its end."""
    measuring: float
    """Of its checkpoints, once trained."""


def forecast(job: Job, dataset: Dataset, computer: Machine) -> float:
    """The seconds that the whole of ``job`` takes here, or less: where its best checkpoint is its last, it is measured
    once. Nothing is written.

    Raises:
        ReconfigError: One of its subclasses, as the job itself would.
    """
    found = times(job.network, job.setting, dataset, checkpoints.read_moments(job.folder), computer)
    return job.setting.train.epochs * found.epoch + found.measuring


def times(network: Network, setting: Setting, dataset: Dataset, moments: Moments | None, computer: Machine) -> Times:
    """What ``network`` behind the normalisation by ``moments`` takes here. Nothing is written.

    Raises:
        ReconfigError: One of its subclasses, for a network or images that cannot be used.
    """
    images = divide(dataset, setting).to(computer.device)
    plan = plan_network(network, dataset, moments)
    model = build_network(network, plan, dataset.classes, setting.seed, moments)
    with TemporaryDirectory() as scratch:
        training = Training(
            computer,
            setting,
            model,
            images.train,
            images.selection,
            Path(scratch),
            math.inf,
            _Unwatched(),
            images.extra,
        )
        step = _step(computer, training, setting.train.batch)
        rates = timed(computer, training.measured, images.selection, setting)
        measuring = sum(
            part.seconds for part in ahead(computer, training.measured, images.test, setting, Path(scratch))
        )
    attack = ATTACKS[SELECTION].passes
    selection = len(images.selection) * rates.seconds(Passes(attack.gradients, attack.runs + 2))  # and as they are
    return Times(
        training.steps * setting.train.batch * step + selection,
        min(len(CHECKPOINTS), setting.train.epochs) * measuring,
    )


def _step(computer: Machine, training: Training, most: int) -> float:
    """The seconds of a training step for an image of it."""
    count = most if computer.compute.compile or computer.compute.capture else min(FIRST, most)
    while True:
        batch = next(iter(training.images.stream([torch.arange(count, device=computer.device)])))
        taken = seconds(computer, lambda: training.step(batch, 0))  # noqa: B023
        if count == most or taken >= ENOUGH:
            return taken / count
        count = min(4 * count, most)
