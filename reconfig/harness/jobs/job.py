"""The unit of work that a run and a sweep share: one network, trained and measured under an experiment in a folder."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

import reconfig
import reconfig.zoo
from reconfig.harness import files
from reconfig.harness.data import dataset as data
from reconfig.harness.data.dataset import Dataset, Split, hold_out
from reconfig.harness.experiment import Data, Network, Setting
from reconfig.harness.files import CheckpointError
from reconfig.harness.jobs.progress import TrainingProgress
from reconfig.harness.machine.machine import Machine
from reconfig.harness.measuring import examples
from reconfig.harness.measuring.evaluate import scores
from reconfig.harness.randomness import derived_seed
from reconfig.harness.training.training import State, Training

CHECKPOINTS = ("last", "best")
_IDENTITY = "10-10-10"


class NetworkError(reconfig.ReconfigError):
    """A network that cannot be built."""


@dataclass(frozen=True)
class Outcome:
    """One trained network, measured."""

    name: str
    seed: int
    params: int
    flops: int
    """Multiply-adds for one image."""
    scores: dict[str, dict[str, float]]
    """Checkpoint -> measure -> its value, which for an accuracy is in %."""
    epochs: dict[str, int]
    """Checkpoint -> the epoch it was saved after, counted from 1."""
    seconds: float
    """Time spent training."""

    def measured(self, checkpoint: str) -> str:
        """The checkpoint that was measured in the place of ``checkpoint``: another of the same epoch, or itself."""
        return next(other for other in CHECKPOINTS if self.epochs[other] == self.epochs[checkpoint])


def read_outcome(folder: Path) -> Outcome:
    """The outcome of the finished unit in ``folder``.

    Raises:
        CheckpointError: If it is not finished, or its outcome.json is damaged or of another version.
    """
    path = folder / "outcome.json"
    if not path.exists():
        raise CheckpointError(f"{folder} is not finished (it has no outcome.json); end its run with --resume")
    remedy = "Remove it to have the network measured again"
    try:
        return Outcome(**files.read_json(path, remedy))
    except TypeError as error:
        raise CheckpointError(f"{path} is not of this version ({files.reason(error)}). {remedy}") from error


@dataclass(frozen=True)
class Unit:
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


def units(networks: Mapping[str, Network], setting: Setting, out: Path) -> dict[str, list[Unit]]:
    """For each place of ``networks`` its units, one a seed: in out/PLACE, with several seeds in out/seed-N/PLACE."""
    seeds = range(setting.seed, setting.seed + setting.seeds)
    folders = {seed: out if len(seeds) == 1 else out / f"seed-{seed}" for seed in seeds}
    return {
        place: [Unit(network, replace(setting, seed=seed, seeds=1), folders[seed] / place) for seed in seeds]
        for place, network in networks.items()
    }


@dataclass(frozen=True)
class Images:
    """Which images do what."""

    train: Split
    selection: Split
    test: Split
    extra: Split | None = None
    """More training images, of which every batch takes a part."""

    def to(self, device: torch.device) -> Images:
        """The same images on another device."""
        extra = None if self.extra is None else self.extra.to(device)
        return Images(self.train.to(device), self.selection.to(device), self.test.to(device), extra)

    def counts(self) -> dict[str, int]:
        """How many there are for each use."""
        held = {"train": self.train, "extra": self.extra, "selection": self.selection, "test": self.test}
        return {use: len(split) for use, split in held.items() if split is not None}


def load(wanted: Data) -> Dataset:
    """The images that ``wanted`` names.

    Raises:
        DataError: If there are none, or they cannot be read.
    """
    return data.load(wanted.path, wanted.train_limit, wanted.test_limit, wanted.extra)


def split(dataset: Dataset, setting: Setting) -> Images:
    """The images of ``dataset`` as ``setting`` and its seed divide them.

    Raises:
        DataError: If holding some out leaves none to train on.
    """
    if setting.evaluate.select == "test":
        return Images(dataset.train, dataset.test, dataset.test, dataset.extra)
    return Images(*hold_out(dataset.train, setting.data.hold_out, setting.seed), dataset.test, dataset.extra)


def plan(network: Network, dataset: Dataset) -> reconfig.Plan:
    """What ``network`` becomes for the classes and image size of ``dataset``; allocates no weights.

    Raises:
        NetworkError: If ``reconfig.zoo`` has no such factory.
        ReconfigError: If the network cannot take the images, or the rule does not fit it.
    """
    factories = _factories()
    if network.factory not in factories:
        raise NetworkError(f"reconfig.zoo has no factory {network.factory}; it has {', '.join(factories)}")
    with torch.device("meta"):
        model = factories[network.factory](num_classes=dataset.classes)
    example = torch.zeros(1, *dataset.shape, device="meta")
    rule = network.rule or _IDENTITY
    return reconfig.plan(model, rule, gamma=network.gamma, budget=network.budget, example_input=example)


def build(network: Network, plan: reconfig.Plan, classes: int, seed: int) -> nn.Module:
    """The network of ``plan``, initialised from ``seed``."""
    torch.manual_seed(derived_seed("weights", seed))
    model = _factories()[network.factory](num_classes=classes)
    return model if network.rule is None else plan.apply(model)


def complete(unit: Unit, dataset: Dataset, computer: Machine, console: Console, save_every: float) -> Outcome:
    """Do what of ``unit`` has not been done before: train the network, measure its checkpoints, save examples.

    The folder has to exist. At the end it holds what ``Training`` leaves, plan.json, outcome.json, the verdicts of
    the attacks and examples.safetensors.

    Raises:
        ReconfigError: One of its subclasses, for a network, images or checkpoints that cannot be used.
    """
    finished = unit.outcome()
    if finished is not None:
        console.print(f"\n{unit.name}  finished before")
        return finished
    planned = plan(unit.network, dataset)
    console.print(f"\n{unit.name}\n{planned}", soft_wrap=True)
    if computer.main:
        files.write_text(unit.folder / "plan.json", planned.to_json())
    model = build(unit.network, planned, dataset.classes, unit.setting.seed)
    images = split(dataset, unit.setting).to(computer.device)
    state = _train(unit, model, images, computer, console, save_every)
    outcome = _measure(unit, model, images.test, computer, console, planned, state)
    if computer.main:
        files.write_json(unit.folder / "outcome.json", asdict(outcome))
    computer.accelerator.wait_for_everyone()
    return outcome


def _train(
    unit: Unit, model: nn.Module, images: Images, computer: Machine, console: Console, save_every: float
) -> State:
    with TrainingProgress(console, unit.name, unit.setting) as progress:
        state = Training(
            computer,
            unit.setting,
            model,
            images.train,
            images.selection,
            unit.folder,
            save_every,
            progress,
            extra=images.extra,
        ).run()
    computer.accelerator.wait_for_everyone()
    computer.accelerator.free_memory()  # it would keep the network for the whole run
    return state


def _measure(
    unit: Unit,
    model: nn.Module,
    test: Split,
    computer: Machine,
    console: Console,
    planned: reconfig.Plan,
    state: State,
) -> Outcome:
    remedy = f"Remove {unit.folder} to train this network again"
    # All are read first, so that a damaged one is found before anything is measured and written.
    saved = {name: files.load_checkpoint(unit.folder / f"{name}.pt", remedy) for name in CHECKPOINTS}
    epochs = {name: checkpoint["state"]["epoch"] for name, checkpoint in saved.items()}
    by_epoch: dict[int, dict[str, float]] = {}
    for name in CHECKPOINTS:  # best is the second, so the examples are its
        epoch = epochs[name]
        if epoch in by_epoch:  # the last epoch is often the best
            continue
        console.print(f"{unit.name}  measuring the {name} checkpoint (epoch {epoch})")
        model.load_state_dict(saved[name]["model"])
        by_epoch[epoch] = scores(computer, model, test, unit.setting, unit.folder / name)
    shown = examples.make(computer, model, test, unit.setting)
    if computer.main:
        examples.save(unit.folder / examples.NAME, shown)
    measured = {name: by_epoch[epoch] for name, epoch in epochs.items()}
    seed = unit.setting.seed
    return Outcome(unit.network.name, seed, planned.params, planned.flops, measured, epochs, state.seconds)


def _factories() -> dict[str, Callable[..., nn.Module]]:
    """The functions of ``reconfig.zoo`` that need nothing but a number of classes."""
    functions = {name: getattr(reconfig.zoo, name) for name in sorted(reconfig.zoo.__all__)}
    return {
        name: function for name, function in functions.items() if inspect.isfunction(function) and _complete(function)
    }


def _complete(function: Callable[..., nn.Module]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return all(parameter.default is not parameter.empty for parameter in parameters if parameter.name != "num_classes")
