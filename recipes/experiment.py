"""An experiment as a value: which two networks, on which images, trained and attacked how.

A recipe is a function that returns an ``Experiment``. Nothing here imports torch, so a recipe can be read,
printed, varied with ``dataclasses.replace`` and turned into command-line flags without starting anything. The
defaults are the recipe of Huang et al. (2021, section 3) for standard adversarial training on CIFAR-10.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Literal

import tyro
from tyro.constructors import PrimitiveConstructorSpec


def _ratio(texts: list[str]) -> Fraction:
    try:
        return Fraction(texts[0])
    except ZeroDivisionError as error:
        raise ValueError(f"{texts[0]} divides by zero") from error


Ratio = Annotated[
    Fraction,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="RATIO",
        instance_from_str=_ratio,
        is_instance=lambda value: isinstance(value, Fraction),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""An exact number: written 8/255 (or 0.03) on the command line, and as a fraction in tables and JSON."""


@dataclass(frozen=True)
class Network:
    """A factory of reconfig.zoo, and what to make of its network."""

    factory: str
    """Name of the factory, such as vgg11."""
    rule: str | None = None
    """Stage rule given to reconfig.plan, such as 10-10-4; None leaves the network as the factory made it."""
    gamma: float = 1.0
    """Factor on every width."""
    budget: Literal["params", "flops"] | int | None = None
    """Solve gamma so that the parameters or FLOPs stay at the factory's, or at this number of parameters."""

    @property
    def name(self) -> str:
        """The network in one line, as tables show it."""
        parts = [self.factory]
        if self.rule is not None:
            parts.append(self.rule)
            parts.extend([f"γ={self.gamma:g}"] if self.gamma != 1 else [])
            parts.extend([f"budget={self.budget}"] if self.budget is not None else [])
        return " ".join(parts)


@dataclass(frozen=True)
class Data:
    """Images and how they are varied."""

    path: Annotated[str | None, tyro.conf.arg(aliases=["--data"])] = None
    """A folder (Hugging Face parquet, cifar-10-batches-py, or train/ and test/ class folders) or the word
    digits. Without it the environment variable RECONFIG_DATA counts."""
    train_limit: int | None = None
    """Use only the first so many training images."""
    test_limit: int | None = None
    """Use only the first so many test images."""
    hold_out: int = 1000
    """Training images set aside to select the best checkpoint; unused with --select test."""
    crop_padding: int = 4
    """Pixels of black around an image before it is cropped at random; 0 for none."""
    flip: bool = True
    """Mirror left and right at random."""

    def __post_init__(self) -> None:
        for name in ("train_limit", "test_limit"):
            if getattr(self, name) is not None:
                _at_least(f"data.{name}", getattr(self, name), 1)
        _at_least("data.hold_out", self.hold_out, 1)
        _at_least("data.crop_padding", self.crop_padding, 0)


@dataclass(frozen=True)
class Threat:
    """What an attacker may do to an image: move it within a ball, inside [0, 1]."""

    norm: Literal["linf", "l2"] = "linf"
    """The norm of the ball."""
    eps: Ratio = Fraction(8, 255)
    """Its radius, for images in [0, 1]."""

    def __post_init__(self) -> None:
        _positive("threat.eps", self.eps)


@dataclass(frozen=True)
class Attack:
    """Projected gradient ascent (eq. 2 of the paper) inside a ``Threat``."""

    steps: int = 10
    """Number of gradient steps."""
    step: Ratio = Fraction(1, 4)
    """Size of one step in units of eps: 1/4 of 8/255 is the paper's 2/255."""
    random_start: bool = True
    """Begin at a random point of the ball rather than at the image."""

    def __post_init__(self) -> None:
        _at_least("attack.steps", self.steps, 1)
        _positive("attack.step", self.step)


@dataclass(frozen=True)
class Train:
    """Adversarial training by SGD with a stepwise learning rate."""

    method: Literal["sat"] = "sat"
    """sat: cross-entropy on adversarial images (Madry et al., 2018)."""
    epochs: int = 100
    """Passes over the training images."""
    batch: int = 128
    """Images in a step, over all processes together."""
    lr: float = 0.1
    """Learning rate of the first epoch."""
    milestones: tuple[Ratio, ...] = (Fraction(3, 4), Fraction(9, 10))
    """Where the rate decays, as parts of the epochs: 75 and 90 of 100."""
    decay: float = 0.1
    """Factor on the rate at each milestone."""
    momentum: float = 0.9
    """SGD momentum."""
    weight_decay: float = 2e-4
    """L2 penalty on all parameters."""
    grad_clip: float | None = 5.0
    """Largest norm of the whole gradient."""
    attack: Attack = field(default_factory=Attack)
    """The attack that makes the training images."""

    def __post_init__(self) -> None:
        _at_least("train.epochs", self.epochs, 1)
        _at_least("train.batch", self.batch, 1)
        for name in ("lr", "decay"):
            _positive(f"train.{name}", getattr(self, name))
        for part in self.milestones:
            if not 0 < part <= 1:
                raise ValueError(f"train.milestones are parts of the epochs, above 0 and up to 1, not {part}")
        if self.grad_clip is not None:
            _positive("train.grad_clip", self.grad_clip)


@dataclass(frozen=True)
class Evaluate:
    """How the trained networks are measured, and how the best checkpoint is chosen."""

    attacks: tuple[Literal["fgsm", "pgd20"], ...] = ("fgsm", "pgd20")
    """Attacks on the test images, beside the clean accuracy."""
    select: Annotated[Literal["holdout", "test"], tyro.conf.arg(aliases=["--select"])] = "holdout"
    """Images whose PGD-20 accuracy selects the best checkpoint: a part held out of the training set, or the
    test set as the paper has it."""
    batch: int = 500
    """Images attacked at once, over all processes together."""

    def __post_init__(self) -> None:
        _at_least("evaluate.batch", self.batch, 1)


@dataclass(frozen=True)
class Compute:
    """Options that change the speed and, in the last digits, the result."""

    device: Literal["auto", "cpu"] = "auto"
    """auto takes a GPU where there is one."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16 computes under autocast; weights stay in fp32."""
    channels_last: bool = False
    """Keep images and weights in the NHWC memory layout."""
    compile: bool = False
    """Compile the networks with torch.compile."""


@dataclass(frozen=True)
class PaperRow:
    """A row of the paper's Table 2 (white-box robustness): accuracy in % at the (last, best) checkpoint."""

    model: str
    params_m: float
    """Millions of parameters."""
    clean: tuple[float, float]
    fgsm: tuple[float, float]
    pgd20: tuple[float, float]
    gama100: tuple[float, float]
    cw: tuple[float, float]
    aa: tuple[float, float]
    unsure: tuple[str, ...] = ()
    """Columns whose printed figures should be trusted least."""


@dataclass(frozen=True)
class Experiment:
    """Two networks trained and attacked alike."""

    original: Network
    variant: Network
    data: Data = field(default_factory=Data)
    threat: Threat = field(default_factory=Threat)
    train: Train = field(default_factory=Train)
    evaluate: Evaluate = field(default_factory=Evaluate)
    compute: Compute = field(default_factory=Compute)
    seed: int = 0
    """Seed of everything random: initial weights, order, augmentation, attacks."""
    paper: Annotated[tuple[PaperRow, PaperRow] | None, tyro.conf.Suppress] = None
    """What the paper reports for the original and the variant."""

    @property
    def networks(self) -> dict[str, Network]:
        """The networks by the name of their place, which is also the name of their folder."""
        return {"original": self.original, "variant": self.variant}


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")


def _positive(name: str, value: float | Fraction) -> None:
    if not value > 0:  # NaN as well
        raise ValueError(f"{name} must be above 0, not {value}")
