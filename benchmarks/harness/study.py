"""A whole run: both networks of an experiment built, trained, measured and compared."""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

import reconfig
import reconfig.zoo
from benchmarks.harness import files, folder, machine, report
from benchmarks.harness.data import Dataset, Split, hold_out, load
from benchmarks.harness.evaluate import scores
from benchmarks.harness.machine import Machine
from benchmarks.harness.options import Options
from benchmarks.harness.progress import TrainingProgress
from benchmarks.harness.randomness import derived_seed
from benchmarks.harness.report import Outcome
from benchmarks.harness.train import State, Training, check_batch
from recipes.experiment import Experiment, Network

_IDENTITY = "10-10-10"


class StudyError(reconfig.ReconfigError):
    """A network that cannot be built."""


def run(experiment: Experiment, options: Options) -> Path:
    """Run ``experiment``; the path of the comparison table. All is checked before anything is written.

    Raises:
        ReconfigError: One of its subclasses, for data, networks, folders and checkpoints that cannot be used.
    """
    out = options.out
    folder.check(out, options.resume)
    dataset = load(experiment.data.path, experiment.data.train_limit, experiment.data.test_limit)
    fingerprint = dataset.fingerprint()
    config = folder.config(experiment, fingerprint)
    folder.check_config(out, config)
    built = {place: build(network, dataset, experiment.seed) for place, network in experiment.networks.items()}
    images = _splits(experiment, dataset)

    computer = machine.start(experiment.compute, options.tracker, out)
    console = Console(quiet=not computer.main, width=None if sys.stdout.isatty() else 140, highlight=False)
    check_batch(experiment.train, len(images.train), computer.accelerator.num_processes)
    if computer.main:
        folder.prepare(out, config, {place: plan.to_json() for place, (_, plan) in built.items()})
    computer.accelerator.wait_for_everyone()
    computer.accelerator.init_trackers(out.name, config={"experiment": str(experiment)})

    study = _Study(experiment, options, computer, console, images.to(computer.device))
    counts = ", ".join(f"{count:,} for {use}" for use, count in images.counts().items())
    console.print(f"{dataset.name}: {counts}")
    outcomes = {place: study.outcome(place, *built.pop(place)) for place in experiment.networks}
    data = {"name": dataset.name, "fingerprint": fingerprint, "classes": dataset.classes} | images.counts()
    table = report.compare(experiment, list(outcomes.values()), data)
    if computer.main:
        command, hardware = shlex.join(["python", *sys.argv]), computer.hardware()
        files.write_text(out / "table.md", table.markdown())
        files.write_json(out / "result.json", report.result(experiment, outcomes, data, command, hardware))
    computer.accelerator.end_training()
    console.print()
    console.print(table.rich())
    console.print(f"\nReport: {out / 'table.md'} and {out / 'result.json'}", soft_wrap=True)
    return out / "table.md"


def build(network: Network, dataset: Dataset, seed: int) -> tuple[nn.Module, reconfig.Plan]:
    """The network for the classes and image size of ``dataset``, initialised from ``seed``, and its plan.

    Raises:
        StudyError: If ``reconfig.zoo`` has no such factory.
        ReconfigError: If the network cannot take the images, or the rule does not fit it.
    """
    factories = _factories()
    if network.factory not in factories:
        raise StudyError(f"reconfig.zoo has no factory {network.factory}; it has {', '.join(factories)}")
    torch.manual_seed(derived_seed("weights", seed))
    model = factories[network.factory](num_classes=dataset.classes)
    rule = network.rule or _IDENTITY
    example = torch.zeros(1, *dataset.shape)
    plan = reconfig.plan(model, rule, gamma=network.gamma, budget=network.budget, example_input=example)
    return (model if network.rule is None else plan.apply(model)), plan


@dataclass(frozen=True)
class _Images:
    """Which images do what."""

    train: Split
    selection: Split
    test: Split

    def to(self, device: torch.device) -> _Images:
        return _Images(self.train.to(device), self.selection.to(device), self.test.to(device))

    def counts(self) -> dict[str, int]:
        return {"train": len(self.train), "selection": len(self.selection), "test": len(self.test)}


@dataclass(frozen=True)
class _Study:
    """A run that has been checked and may begin."""

    experiment: Experiment
    options: Options
    computer: Machine
    console: Console
    images: _Images

    def outcome(self, place: str, model: nn.Module, plan: reconfig.Plan) -> Outcome:
        """Train the network of ``place`` and measure it, as far as that has not been done before."""
        out, name = self.options.out / place, self.experiment.networks[place].name
        self.console.print(f"\n{name}\n{plan}", soft_wrap=True)
        path = out / "outcome.json"
        if not path.exists():
            outcome = self._measure(name, out, model, self._train(name, out, model))
            if self.computer.main:
                files.write_json(path, asdict(outcome))
            self.computer.accelerator.wait_for_everyone()
        return Outcome(**files.read_json(path, "Remove it to have the network measured again"))

    def _train(self, name: str, out: Path, model: nn.Module) -> State:
        images, every = self.images, self.options.save_every
        with TrainingProgress(self.console, name, self.experiment) as progress:
            state = Training(
                self.computer, self.experiment, model, images.train, images.selection, out, every, progress
            ).run()
        self.computer.accelerator.wait_for_everyone()
        self.computer.accelerator.free_memory()  # it would keep the network for the whole run
        return state

    def _measure(self, name: str, out: Path, model: nn.Module, state: State) -> Outcome:
        by_epoch: dict[int, dict[str, float]] = {}
        epochs: dict[str, int] = {}
        for checkpoint in report.CHECKPOINTS:
            saved = files.load_checkpoint(out / f"{checkpoint}.pt", f"Remove {out} to train this network again")
            epochs[checkpoint] = epoch = saved["state"]["epoch"]
            if epoch in by_epoch:  # the last epoch is often the best
                continue
            self.console.print(f"{name}  measuring the {checkpoint} checkpoint (epoch {epoch})")
            model.load_state_dict(saved["model"])
            by_epoch[epoch] = scores(self.computer, model, self.images.test, self.experiment)
        params = sum(parameter.numel() for parameter in model.parameters())
        measured = {checkpoint: by_epoch[epoch] for checkpoint, epoch in epochs.items()}
        return Outcome(name, params, measured, epochs, state.seconds)


def _splits(experiment: Experiment, dataset: Dataset) -> _Images:
    if experiment.evaluate.select == "test":
        return _Images(dataset.train, dataset.test, dataset.test)
    return _Images(*hold_out(dataset.train, experiment.data.hold_out, experiment.seed), dataset.test)


def _factories() -> dict[str, Callable[..., nn.Module]]:
    """The functions of ``reconfig.zoo`` that need nothing but a number of classes."""
    functions = {name: getattr(reconfig.zoo, name) for name in sorted(reconfig.zoo.__all__)}
    return {
        name: function for name, function in functions.items() if inspect.isfunction(function) and _complete(function)
    }


def _complete(function: Callable[..., nn.Module]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return all(parameter.default is not parameter.empty for parameter in parameters if parameter.name != "num_classes")
