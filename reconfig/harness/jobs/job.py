"""A job: one network trained and measured under a setting, in a folder. Comparisons and sweeps are made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

import reconfig
from reconfig.harness import files
from reconfig.harness.data.dataset import Dataset, Split
from reconfig.harness.data.division import Division, divide
from reconfig.harness.experiment import Network, Setting
from reconfig.harness.jobs.network import build_network, plan_network
from reconfig.harness.jobs.outcome import CHECKPOINTS, Outcome, read_outcome
from reconfig.harness.jobs.progress import TrainingProgress
from reconfig.harness.machine.machine import Machine
from reconfig.harness.measuring import examples
from reconfig.harness.measuring.measures import scores
from reconfig.harness.training.state import State
from reconfig.harness.training.training import Training


@dataclass(frozen=True)
class Job:
    """What to do: train and measure ``network`` as ``setting`` and its one seed say, in ``folder``."""

    network: Network
    setting: Setting
    folder: Path

    @property
    def name(self) -> str:
        """What to call it while it runs."""
        return f"{self.network.name}, seed {self.setting.seed}"

    def outcome(self) -> Outcome | None:
        """What came of it, once it is finished.

        Raises:
            CheckpointError: If the file that says so is damaged or of another version.
        """
        return read_outcome(self.folder) if (self.folder / "outcome.json").exists() else None

    def history(self) -> list[dict[str, Any]]:
        """The metrics of each epoch that has ended."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]


def make_jobs(networks: Mapping[str, Network], setting: Setting, out: Path) -> dict[str, list[Job]]:
    """For each of the named networks its jobs, one a seed: in out/NAME, with several seeds in out/seed-N/NAME."""
    seeds = range(setting.seed, setting.seed + setting.seeds)
    folders = {seed: out if len(seeds) == 1 else out / f"seed-{seed}" for seed in seeds}
    return {
        name: [Job(network, replace(setting, seed=seed, seeds=1), folders[seed] / name) for seed in seeds]
        for name, network in networks.items()
    }


def complete(job: Job, dataset: Dataset, computer: Machine, console: Console, save_every: float) -> Outcome:
    """Do what of ``job`` has not been done before: train the network, measure its checkpoints, save examples.

    The folder has to exist. At the end it holds what ``Training`` leaves, plan.json, outcome.json, the verdicts of
    the attacks and examples.safetensors.

    Raises:
        ReconfigError: One of its subclasses, for a network, images or checkpoints that cannot be used.
    """
    finished = job.outcome()
    if finished is not None:
        console.print(f"\n{job.name}  finished before")
        return finished
    planned = plan_network(job.network, dataset)
    console.print(f"\n{job.name}\n{planned}", soft_wrap=True)
    if computer.main:
        files.write_text(job.folder / "plan.json", planned.to_json())
    model = build_network(job.network, planned, dataset.classes, job.setting.seed)
    images = divide(dataset, job.setting).to(computer.device)
    state = _train(job, model, images, computer, console, save_every)
    outcome = _measure(job, model, images.test, computer, console, planned, state)
    if computer.main:
        files.write_json(job.folder / "outcome.json", asdict(outcome))
    computer.accelerator.wait_for_everyone()
    return outcome


def _train(
    job: Job, model: nn.Module, images: Division, computer: Machine, console: Console, save_every: float
) -> State:
    with TrainingProgress(console, job.name, job.setting) as progress:
        state = Training(
            computer,
            job.setting,
            model,
            images.train,
            images.selection,
            job.folder,
            save_every,
            progress,
            extra=images.extra,
        ).run()
    computer.accelerator.wait_for_everyone()
    computer.accelerator.free_memory()  # it would keep the network for the whole run
    return state


def _measure(
    job: Job,
    model: nn.Module,
    test: Split,
    computer: Machine,
    console: Console,
    planned: reconfig.Plan,
    state: State,
) -> Outcome:
    remedy = f"Remove {job.folder} to train this network again"
    # All are read first, so that a damaged one is found before anything is measured and written.
    saved = {name: files.load_checkpoint(job.folder / f"{name}.pt", remedy) for name in CHECKPOINTS}
    epochs = {name: checkpoint["state"]["epoch"] for name, checkpoint in saved.items()}
    by_epoch: dict[int, dict[str, float]] = {}
    for name in CHECKPOINTS:  # best is the second, so the examples are its
        epoch = epochs[name]
        if epoch in by_epoch:  # the last epoch is often the best
            continue
        console.print(f"{job.name}  measuring the {name} checkpoint (epoch {epoch})")
        model.load_state_dict(saved[name]["model"])
        by_epoch[epoch] = scores(computer, model, test, job.setting, job.folder / name)
    shown = examples.make(computer, model, test, job.setting)
    if computer.main:
        examples.save(job.folder / examples.NAME, shown)
    measured = {name: by_epoch[epoch] for name, epoch in epochs.items()}
    seed = job.setting.seed
    return Outcome(job.network.name, seed, planned.params, planned.flops, measured, epochs, state.seconds)
