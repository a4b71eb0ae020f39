"""How to run an experiment, as opposed to what it is."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from reconfig.harness.experiment import Compute, Evaluate, Measured, Threat
from reconfig.harness.fields import at_least, check_moments

SAVE_EVERY = 120.0
"""Seconds of work that a kill may cost, by default; a checkpoint of a large network takes about one to write."""


@dataclass(frozen=True)
class Options:
    """Where and how to run; nothing here changes the result."""

    out: Path
    """Folder for everything the run writes."""
    resume: bool = False
    """Go on with what an earlier run of the same command left in --out."""
    save_every: float = SAVE_EVERY
    """Seconds between checkpoints within an epoch; the end of an epoch is always saved."""
    tracker: str = "tensorboard"
    """A tracker of accelerate's that logs each epoch as well: tensorboard, wandb, mlflow, trackio, or none. It writes
    into logs/ under --out unless its own environment variables say otherwise. A run that is killed may leave wandb and
    trackio without the epochs of its last seconds; metrics.jsonl has them all."""


@dataclass(frozen=True)
class SweepOptions:
    """Where and how to run a sweep; nothing here changes the result."""

    out: Path
    """Folder for everything the sweep writes. On a cluster every machine has to see it under this name."""
    resume: bool = False
    """Go on with what an earlier run of the same command left in --out; what is finished is not done again."""
    save_every: float = SAVE_EVERY
    """Seconds between checkpoints within an epoch; the end of an epoch is always saved."""
    here: bool = False
    """Train one network after another in this process, without Ray."""
    address: str | None = None
    """Address of a Ray cluster, such as auto or ray://HOST:10001; without it Ray is started on this machine."""
    gpus_per_run: float | None = None
    """GPUs for one training: 0.25 puts four on a GPU. Without it, 1 where this machine has a GPU, else 0."""
    cpus_per_run: int = 1
    """CPU cores for one training."""
    cpus: int | None = None
    """Cores that a Ray started here may use together; all of them without it."""

    def __post_init__(self) -> None:
        for name in ("cpus_per_run", "cpus"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.here and self.address is not None:
            raise ValueError(f"here trains in this process, address {self.address} on a cluster: give one of the two")
        if self.gpus_per_run is not None and not self.gpus_per_run >= 0:
            raise ValueError(f"gpus_per_run must be at least 0, not {self.gpus_per_run}")


@dataclass(frozen=True)
class AttackOptions:
    """What of a finished run to attack, and how."""

    path: Annotated[Path, tyro.conf.Positional]
    """The folder of a finished run or of one of its networks, or a checkpoint (best.pt, last.pt)."""
    attacks: tuple[Measured, ...] = ("aa",)
    """What to measure."""
    images: int | None = None
    """Only the first so many test images."""
    source: str | None = None
    """The checkpoint on which the transfer attack makes its images."""
    data: str | None = None
    """Where the run's images lie now, if not where they were."""
    batch: int | None = None
    """Images attacked at once, if not as many as in the run."""
    shard: int | None = None
    """Images after which AutoAttack saves what it found, if not as many as in the run."""
    compute: Compute = field(default_factory=Compute)
    """Where; not what the run was trained on."""

    def __post_init__(self) -> None:
        self.evaluate(Evaluate())  # what it refuses is refused here

    def evaluate(self, run: Evaluate) -> Evaluate:
        """How to measure: as the run did, except for what was asked for."""
        return replace(
            run,
            attacks=self.attacks,
            source=self.source,
            aa_images=self.images,
            batch=run.batch if self.batch is None else self.batch,
            aa_shard=run.aa_shard if self.shard is None else self.shard,
        )


@dataclass(frozen=True)
class ModelOptions:
    """A model that was trained elsewhere, and how to measure it."""

    network: str
    """Its name: file.py:Net, package.module:Factory, timm:resnet18, torchvision:resnet18 or zoo:vgg11, with arguments
    as in 'file.py:Net?width=8'. It is built for the classes of the data, and takes images in [0, 1]."""
    weights: Path | None = None
    """Its weights: a safetensors file (with a plan of reconfig's, or without), or what torch.save wrote of a state
    dict, perhaps inside a checkpoint. Without it the network is as its factory makes it, as with
    timm:NAME?pretrained=True."""
    data: str | None = None
    """The images, as for run.py; its test images are attacked."""
    mean: tuple[float, ...] | None = None
    """What it was trained to have subtracted from images in [0, 1], a number a channel. It becomes part of the
    network."""
    std: tuple[float, ...] | None = None
    """What they were divided by then."""
    threat: Threat = field(default_factory=Threat)
    """How far an attack may move an image."""
    attacks: tuple[Measured, ...] = ("fgsm", "pgd20", "cw", "gama100", "aa")
    """What to measure, beside the clean accuracy."""
    images: int | None = 1000
    """Only the first so many test images."""
    batch: int = 500
    """Images attacked at once."""
    shard: int = 500
    """Images after which AutoAttack begins anew."""
    seed: int = 0
    """Seed of the attacks."""
    out: Path = Path("runs/attack")
    """Folder for what is found. AutoAttack goes on with what it finds there of the same model."""
    compute: Compute = field(default_factory=Compute)
    """Where, and how numbers are rounded."""

    def __post_init__(self) -> None:
        check_moments("", self.mean, self.std)
        if {"transfer"} & {*self.attacks}:
            raise ValueError(
                "attacks has transfer, which makes its images on a run's checkpoint: attack.py RUN has that"
            )
        self.evaluate()  # what it refuses is refused here

    def evaluate(self) -> Evaluate:
        """How to measure."""
        return Evaluate(attacks=self.attacks, batch=self.batch, aa_shard=self.shard, aa_images=self.images)


@dataclass(frozen=True)
class ProxyOptions:
    """Which trained networks to rank by proxies, and on what."""

    path: Annotated[Path, tyro.conf.Positional]
    """The folder of a sweep, a comparison or a search."""
    measure: Measured = "pgd20"
    """The robust accuracy that proxies are to foretell: of the best checkpoint, on the test images. Of a search it is
    that of its trials, on held-out images."""
    batch: int = 64
    """Training images that proxies look at."""
    data: str | None = None
    """Where the networks' images lie now, if not where they were."""
    compute: Compute = field(default_factory=Compute)
    """Where."""

    def __post_init__(self) -> None:
        at_least("batch", self.batch, 2)


@dataclass(frozen=True)
class ExportOptions:
    """What of a finished run to export, and where to."""

    run: Annotated[Path, tyro.conf.Positional]
    """The folder of a finished run."""
    out: Annotated[Path, tyro.conf.Positional]
    """The file, or for RobustBench the folder."""
    to: Literal["safetensors", "robustbench"] = "safetensors"
    """The form."""
    network: Literal["original", "variant"] = "variant"
    """Which of the run's networks."""
    checkpoint: Literal["best", "last"] = "best"
    """Which of its checkpoints."""
    seed: int | None = None
    """Of a run with several seeds, the one to take; the first where left out."""
    name: str | None = None
    """RobustBench's identifier, such as Huang2021Exploring; made of the run's where left out."""
    dataset: str | None = None
    """RobustBench's name of the images (cifar10, cifar100, imagenet), where the run's name for them differs."""
    title: str = "Exploring Architectural Ingredients of Adversarially Robust Deep Neural Networks"
    """Title on the model card."""
    authors: str = ""
    """Authors on the model card."""
    venue: str = ""
    """Venue on the model card; RobustBench shows none as unpublished."""
    link: str = "https://arxiv.org/abs/2110.03825"
    """Link on the model card."""
