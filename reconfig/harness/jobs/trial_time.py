"""How long networks of a search train, by timed batches of the original."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from reconfig.harness.attacks.gradient import PGD20
from reconfig.harness.data.dataset import load_dataset
from reconfig.harness.data.division import divide
from reconfig.harness.experiment import Setting
from reconfig.harness.jobs.network import build_network, plan_network
from reconfig.harness.jobs.outcome import CHECKPOINTS
from reconfig.harness.machine import machine
from reconfig.harness.measuring.measures import MEASURES, Subject
from reconfig.harness.measuring.timing import timed
from reconfig.harness.network import Network
from reconfig.harness.watching import Passes, Rates

_STEP = 1.5
"""Gradients of images that a gradient of the weights takes as long as: it has those of both."""
_TRIES = 5
"""Of timed batches, of which the quickest counts: others were disturbed."""


@dataclass(frozen=True)
class Times:
    """Seconds of one network on one worker."""

    epoch: float
    """Of training, with the selection at its end."""
    measuring: float
    """Of both checkpoints, once trained."""


def time_network(network: Network, setting: Setting, folder: Path, threads: int) -> Times:
    """Time ``network`` on the machine that this runs on; ``folder`` is for what accelerate may write.

    Raises:
        ReconfigError: One of its subclasses, for a network or images that cannot be used.
    """
    torch.set_num_threads(threads)
    dataset = load_dataset(setting.data)
    computer = machine.start(setting.compute, "none", folder)
    model = build_network(network, plan_network(network, dataset), dataset.classes, setting.seed)
    model = computer.set_up(model)
    images = divide(dataset, setting).to(computer.device)
    tried = [timed(computer, model, images.test, setting) for _ in range(_TRIES)]
    rates = Rates(min(each.gradient for each in tried), min(each.run for each in tried))
    training = len(images.train) * rates.seconds(Passes(setting.train.attack.steps + _STEP))
    selection = len(images.selection) * rates.seconds(Passes(PGD20.steps, 2))
    measuring = 0.0
    for name in ("clean", *setting.evaluate.attacks):
        computation = MEASURES[name].computation(computer, setting)
        subject = Subject(computer, computation, model, images.test, setting, folder)
        measuring += sum(part.images * rates.seconds(part.passes) for part in MEASURES[name].ahead(subject))
    return Times(training + selection, len(CHECKPOINTS) * measuring)
