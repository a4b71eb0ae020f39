"""A job: one network trained and measured under a setting, in a folder. Comparisons and sweeps are made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

import reconfig
from reconfig.harness import checkpoints, files
from reconfig.harness.data.dataset import Dataset
from reconfig.harness.data.division import Division, divide
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Setting
from reconfig.harness.jobs.further import load_finished, measure_further, missing
from reconfig.harness.jobs.measuring_progress import MeasuringProgress
from reconfig.harness.jobs.network import build_network, plan_network
from reconfig.harness.jobs.note import Note
from reconfig.harness.jobs.outcome import CHECKPOINTS, Outcome, read_outcome, write_outcome
from reconfig.harness.jobs.progress import TrainingProgress
from reconfig.harness.machine.machine import Machine
from reconfig.harness.measuring import examples
from reconfig.harness.measuring.scores import computations, scores
from reconfig.harness.network import Network
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

    def is_done(self, images: int) -> bool:
        """Whether it is finished, with all that its setting asks for; ``images`` is how many test images there are.

        Raises:
            ReconfigError: One of its subclasses, if a file that says so is damaged.
        """
        outcome = self.outcome()
        return outcome is not None and not missing(self.folder, outcome, self.setting, images)

    def history(self) -> list[dict[str, Any]]:
        """The metrics of each epoch that has ended."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]


def make_jobs(networks: Mapping[str, Network], setting: Setting, out: Path) -> dict[str, list[Job]]:
    """For each of the named networks its jobs, one a seed: in out/NAME, with several seeds in out/seed-N/NAME."""
    if setting.seeds == 1:
        return {name: [Job(network, setting, out / name)] for name, network in networks.items()}
    return jobs_by_seed(networks, setting, out)


def jobs_by_seed(networks: Mapping[str, Network], setting: Setting, out: Path) -> dict[str, list[Job]]:
    """For each of the named networks its jobs, one a seed, in out/seed-N/NAME, so that more of them move nothing."""
    seeds = range(setting.seed, setting.seed + setting.seeds)
    return {
        name: [Job(network, replace(setting, seed=seed, seeds=1), out / f"seed-{seed}" / name) for seed in seeds]
        for name, network in networks.items()
    }


def complete(job: Job, dataset: Dataset, computer: Machine, console: Console, save_every: float) -> Outcome:
    """Do what of ``job`` has not been done before: train the network, measure its checkpoints, save examples.

    Of a finished job, that is what its setting asks for now and did not then.

    The folder has to exist. At the end it holds what ``Training`` leaves, plan.json, outcome.json, the verdicts of
    the attacks and examples.safetensors.

    Raises:
        ReconfigError: One of its subclasses, for a network, images or checkpoints that cannot be used.
    """
    finished = job.outcome()
    if finished is not None:
        console.print(f"\n{job.name}  finished before")
        return _measure_missing(job, finished, dataset, computer, console)
    computer.begin_network()
    moments = checkpoints.read_moments(job.folder)
    planned = plan_network(job.network, dataset, moments)
    console.print(f"\n{job.name}\n{planned}", soft_wrap=True)
    if moments is not None:
        console.print(f"behind a normalisation, in the network: {moments}", soft_wrap=True)
    if computer.main:
        files.write_text(job.folder / "plan.json", planned.to_json())
    images = divide(dataset, job.setting).to(computer.device)
    network = build_network(job.network, planned, dataset.classes, job.setting.seed, moments)
    state = _train(job, network, images, computer, console, save_every)
    del network  # what is measured is loaded anew, bare of what compiling and accelerate made of this one
    outcome = _measure(job, dataset.classes, images.test, computer, console, planned, state)
    if computer.main:
        write_outcome(job.folder, outcome)
    computer.accelerator.wait_for_everyone()
    return outcome


def _measure_missing(job: Job, finished: Outcome, dataset: Dataset, computer: Machine, console: Console) -> Outcome:
    wanted = missing(job.folder, finished, job.setting, len(dataset.test))
    test = dataset.test.to(computer.device)
    for checkpoint, measures in wanted.items():
        console.print(f"{job.name}  measuring the {checkpoint} checkpoint further: {', '.join(measures)}")
        computer.begin_network()
        with MeasuringProgress(console, job.name, Note(job.folder, computer.main)) as progress:
            measure_further(computer, job.folder, checkpoint, dataset.classes, test, job.setting, measures, progress)
    return read_outcome(job.folder) if wanted else finished


def _train(
    job: Job, model: nn.Module, images: Division, computer: Machine, console: Console, save_every: float
) -> State:
    with TrainingProgress(console, job.name, job.setting, Note(job.folder, computer.main)) as progress:
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
    classes: int,
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
        model = load_finished(computer, job.folder, name, classes)
        with MeasuringProgress(console, job.name, Note(job.folder, computer.main)) as progress:
            by_epoch[epoch] = scores(computer, model, test, job.setting, job.folder / name, progress)
    shown = examples.make(computer, model, test, job.setting)
    if computer.main:
        examples.save(job.folder / examples.NAME, shown)
    computed = computations(computer, job.setting, ("clean", *job.setting.evaluate.attacks))
    return Outcome(
        name=job.network.name,
        seed=job.setting.seed,
        params=planned.params,
        flops=planned.flops,
        scores={name: by_epoch[epoch] for name, epoch in epochs.items()},
        epochs=epochs,
        seconds=state.seconds,
        computed=dict.fromkeys(CHECKPOINTS, computed),
        compiled=computer.compiled.counts() if computer.compute.compile else None,
    )
