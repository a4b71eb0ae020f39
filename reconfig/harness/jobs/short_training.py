"""A trial of a search: a short adversarial training of a network by a rule, in a folder, judged on images held out.

The folder holds ``trial.json`` (what is tried), plan.json and what ``Training`` leaves, of which the checkpoints go
once the trial has ended; ``ended.json`` says that it has.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from rich.console import Console

import reconfig
from reconfig.harness import checkpoints, files
from reconfig.harness.data.dataset import Dataset, load_dataset
from reconfig.harness.data.division import divide
from reconfig.harness.experiment import Data, Setting
from reconfig.harness.jobs.network import build_network, plan_network
from reconfig.harness.jobs.note import Note
from reconfig.harness.jobs.progress import TrainingProgress
from reconfig.harness.jobs.space import Space, at_cost
from reconfig.harness.jobs.trials import Known, Parameters, Report
from reconfig.harness.machine import machine
from reconfig.harness.network import Budget, Network
from reconfig.harness.training.training import Training

_TRIAL, _ENDED = "trial.json", "ended.json"
_ROBUST = "pgd20"
"""What trials are compared by, of the held-out images."""


@dataclass(frozen=True)
class Trial:
    """What is known of a trial."""

    folder: Path
    parameters: dict[str, float]
    rule: str
    history: tuple[dict[str, Any], ...]
    """The metrics of each epoch."""
    ended: bool
    error: str
    params: int
    flops: int
    """Of the network; 0 where it could not be planned."""

    @property
    def robust(self) -> tuple[float, ...]:
        """The held-out images' robust accuracy in % after each epoch; 0 where the network could not be trained."""
        return (0.0,) if self.error else tuple(row[_ROBUST] for row in self.history)

    @property
    def seconds(self) -> float:
        """Time spent training."""
        return self.history[-1]["seconds"] if self.history else 0.0

    def known(self) -> Known:
        """The same for a search that goes on."""
        return Known(self.parameters, self.robust, self.ended)


@dataclass(frozen=True)
class ShortTraining:
    """The objective of a search; trials of one ``arm`` of it have their folders in ``arm``."""

    network: Network
    cost: Budget
    """What is held, and how much of it."""
    space: Space
    setting: Setting
    """Its training is a trial's."""
    arm: Path
    save_every: float
    threads: int

    def folder(self, parameters: Parameters) -> Path:
        """The folder of a trial: of one rule there is one."""
        return self.arm / re.sub(r"[^\w.+=,-]", "_", self.space.rule(parameters), flags=re.ASCII)

    def __call__(self, parameters: Parameters) -> Iterator[Report]:
        """Train to the end, and report after each epoch. What was done before is reported and not done again."""
        folder = self.folder(parameters)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):  # a process of a search that was killed may still be at it
            before = read_trial(folder)
            if before is not None and before.ended:
                for epoch, robust in enumerate(before.robust, 1):
                    yield Report(robust, epoch, error=before.error)
                return
            rule = self.space.rule(parameters)
            if before is None:
                files.write_json(folder / _TRIAL, {"parameters": dict(parameters), "rule": rule})
            try:
                yield from self._train(folder, rule)
            except reconfig.ReconfigError as error:  # a rule that the network cannot have, a loss that is not finite
                files.write_json(folder / _ENDED, {"error": str(error)})
                yield Report(0.0, 1, error=str(error))

    def _train(self, folder: Path, rule: str) -> Iterator[Report]:
        torch.set_num_threads(self.threads)
        setting, dataset = self.setting, _dataset(self.setting.data)
        network = at_cost(self.network, rule, self.cost)
        computer = machine.start(setting.compute, "none", folder)
        computer.begin_network()
        moments = checkpoints.read_moments(folder)
        plan = plan_network(network, dataset, moments)
        files.write_text(folder / "plan.json", plan.to_json())
        images = divide(dataset, setting).to(computer.device)
        model = build_network(network, plan, dataset.classes, setting.seed, moments)
        with TrainingProgress(Console(quiet=True), rule, setting, Note(folder)) as progress:
            training = Training(
                computer,
                setting,
                model,
                images.train,
                images.selection,
                folder,
                self.save_every,
                progress,
                images.extra,
            )
            for row in list(training.state.history):
                yield Report(row[_ROBUST], row["epoch"])
            while training.state.epoch < setting.train.epochs:
                began = time.monotonic()
                row = training.run(training.state.epoch + 1).history[-1]
                yield Report(row[_ROBUST], row["epoch"], seconds=time.monotonic() - began)


@lru_cache(maxsize=1)
def _dataset(data: Data) -> Dataset:
    """Of all trials of a process the images are read once."""
    return load_dataset(data)


def end(folder: Path) -> None:
    """Say that the trial in ``folder`` has ended, and remove its checkpoints."""
    if not (folder / _ENDED).exists():
        files.write_json(folder / _ENDED, {"error": ""})
    for path in folder.glob("*.pt"):
        path.unlink(missing_ok=True)


def read_trials(arm: Path) -> list[Trial]:
    """The trials that were begun, the oldest first.

    Raises:
        CheckpointError: If a file of one is damaged.
    """
    begun = sorted(arm.glob(f"*/{_TRIAL}"), key=lambda path: path.stat().st_mtime_ns)
    return [trial for path in begun if (trial := read_trial(path.parent)) is not None]


def read_trial(folder: Path) -> Trial | None:
    """The trial in ``folder``; None where none was begun.

    Raises:
        CheckpointError: If a file of it is damaged.
    """
    if not (folder / _TRIAL).exists():
        return None
    remedy = f"Remove {folder} to have it tried again"
    said = files.read_json(folder / _TRIAL, remedy)
    ended = files.read_json(folder / _ENDED, remedy) if (folder / _ENDED).exists() else None
    metrics, plan = folder / "metrics.jsonl", folder / "plan.json"
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.exists() else []
    counts = files.read_json(plan, remedy) if plan.exists() else {}
    return Trial(
        folder,
        said["parameters"],
        said["rule"],
        tuple(json.loads(line) for line in lines),
        ended is not None,
        ended["error"] if ended is not None else "",
        counts.get("params", 0),
        counts.get("flops", 0),
    )
