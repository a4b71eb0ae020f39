"""An experiment as a value: which two networks, on which images, trained and attacked how.

A recipe is a function that returns an ``Experiment``. Nothing here imports torch, so a recipe can be read,
printed, varied with ``dataclasses.replace`` and turned into command-line flags without starting anything. The
defaults are the recipe of Huang et al. (2021, section 3) for standard adversarial training on CIFAR-10.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Annotated, Literal

import tyro

from reconfig.harness.fields import Ratio, at_least, check_moments, positive
from reconfig.harness.network import Budget, Network
from reconfig.harness.paper import PaperRow


@dataclass(frozen=True)
class Data:
    """Images and how they are varied."""

    path: Annotated[str | None, tyro.conf.arg(aliases=["--data"])] = None
    """cifar10, cifar100 or svhn, which are downloaded once for all runs; a folder (Hugging Face parquet,
    cifar-10-batches-py, cifar-100-python, SVHN's .mat files, or train/ and test/ class folders); or digits, which come
    with scikit-learn. Without it the environment variable RECONFIG_DATA counts, and without that it is cifar10."""
    extra: str | None = None
    """A file of more training images with (pseudo-)labels: parquet, npz (image [N, H, W, 3], label [N]), or the
    public 500K pickle (data, extrapolated_targets). A part of every batch is then drawn from it."""
    extra_part: Ratio = Fraction(1, 2)
    """The part of every batch that comes from the extra images."""
    size: int | None = None
    """Pixels of a side that folders of images are seen at: the shorter side is resized to 8/7 of it, and the middle is
    cut out. Without it all images have to have one size already."""
    keep: Literal["auto", "memory", "disk"] = "auto"
    """Where images of a given size are kept: in memory, as all others are, or in their files, from which threads decode
    them when they are wanted. auto takes memory where it holds them beside what the networks take, by measurement."""
    train_limit: int | None = None
    """Use only the first so many training images."""
    test_limit: int | None = None
    """Use only the first so many test images."""
    hold_out: int = 1000
    """Training images set aside to select the best checkpoint; unused with --select test."""
    crop_padding: int = 4
    """Pixels of black around an image before it is cropped at random; 0 for none."""
    crop_area: tuple[float, float] | None = None
    """Crop at random in place of that, as on ImageNet: a part of the area from the first to the second number (usually
    0.08 1), with sides of 3:4 to 4:3, resized to the image's size. With data.size it is cut out of the whole image, so
    that training images stay in their files."""
    flip: bool = True
    """Mirror left and right at random."""
    rotate: float = 0.0
    """Turn by up to so many degrees at random, after cropping and mirroring; 0 for none."""
    normalise: Literal["imagenet", "data"] | None = None
    """Give both networks (image - mean) / std by channel: with ImageNet's numbers, or those of the training images. It
    becomes the first layer of the networks, so that attacks stay in [0, 1] and the files hold it."""
    mean: tuple[float, ...] | None = None
    """The same with these means of images in [0, 1], a number a channel."""
    std: tuple[float, ...] | None = None
    """And these standard deviations."""

    def __post_init__(self) -> None:
        for name in ("train_limit", "test_limit", "size"):
            if getattr(self, name) is not None:
                at_least(f"data.{name}", getattr(self, name), 1)
        if not 0 < self.extra_part < 1:
            raise ValueError(f"data.extra_part is a part of each batch, between 0 and 1, not {self.extra_part}")
        at_least("data.hold_out", self.hold_out, 1)
        at_least("data.crop_padding", self.crop_padding, 0)
        if not 0 <= self.rotate <= 180:
            raise ValueError(f"data.rotate is in degrees, from 0 to 180, not {self.rotate}")
        if self.crop_area is not None and not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            low, high = self.crop_area
            raise ValueError(f"data.crop_area is from a part to a part of the area, such as 0.08 1, not {low} {high}")
        if self.crop_area is not None and self.size is not None and self.keep == "memory":
            raise ValueError("data.crop_area cuts out of whole images, in their files: leave out data.keep memory")
        check_moments("data.", self.mean, self.std)
        if self.normalise is not None and self.mean is not None:
            raise ValueError(
                f"data.normalise {self.normalise} and data.mean both say how to normalise; leave one of them out"
            )


@dataclass(frozen=True)
class Threat:
    """What an attacker may do to an image: move it within a ball, inside [0, 1]."""

    norm: Literal["linf", "l2"] = "linf"
    """The norm of the ball."""
    eps: Ratio = Fraction(8, 255)
    """Its radius, for images in [0, 1]."""

    def __post_init__(self) -> None:
        positive("threat.eps", self.eps)


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
        at_least("attack.steps", self.steps, 1)
        positive("attack.step", self.step)


@dataclass(frozen=True)
class WeightPerturbation:
    """Adversarial weight perturbation (Wu et al., 2020): each step is taken at the worst weights nearby."""

    size: float = 0.0
    """Largest length of a layer's perturbation in lengths of the layer's weights (the paper's gamma); 0 for none.
    Wu et al. take 0.01 with SAT and 0.005 with TRADES."""
    warmup: int = 0
    """Epochs before it begins."""

    def __post_init__(self) -> None:
        if not 0 <= self.size < 1:
            raise ValueError(f"train.awp.size must be at least 0 and below 1, not {self.size}")
        at_least("train.awp.warmup", self.warmup, 0)


@dataclass(frozen=True)
class Train:
    """Adversarial training by SGD. The defaults are the paper's for SAT; for the other methods see TRAINING."""

    method: Literal["sat", "trades", "mart", "rst", "fast"] = "sat"
    """sat (Madry et al., 2018), trades (Zhang et al., 2019), mart (Wang et al., 2020), rst (Carmon et al., 2019;
    needs --data.extra) or fast (Wong et al., 2020). Other fields stay as they are; TRAINING has each method's own."""
    beta: float = 6.0
    """Weight of the robust term in TRADES, RST and MART."""
    epochs: int = 100
    """Passes over the training images."""
    batch: int = 128
    """Images in a step, over all processes together."""
    lr: float = 0.1
    """The highest learning rate."""
    schedule: Literal["step", "cosine", "cyclic"] = "step"
    """step: lr, decayed at milestones. cosine: from lr to 0 along half a wave. cyclic: from 0 to lr in the first
    half and back to 0 in the second."""
    milestones: tuple[Ratio, ...] = (Fraction(3, 4), Fraction(9, 10))
    """Where the step schedule decays, as parts of the epochs: 75 and 90 of 100."""
    decay: float = 0.1
    """Factor on the rate at each milestone."""
    momentum: float = 0.9
    """SGD momentum."""
    momentum_low: float | None = None
    """Let the momentum fall from ``momentum`` to this in the first half and rise again in the second, against the rate
    of the cyclic schedule; None keeps it."""
    weight_decay: float = 2e-4
    """L2 penalty on all parameters."""
    grad_clip: float | None = 5.0
    """Largest norm of the whole gradient."""
    attack: Attack = field(default_factory=Attack)
    """The attack that makes the training images."""
    attack_mode: Literal["eval", "train"] = "eval"
    """The network's mode under that attack. eval, as SAT, TRADES, MART and the paper's code have it: the attack sees
    the network that is measured, and leaves its batch statistics alone. train, as fast was published: batch norm takes
    each step's own statistics, and its running ones move with every step."""
    awp: WeightPerturbation = field(default_factory=WeightPerturbation)
    """Adversarial weight perturbation, with any method."""
    average: float = 0.0
    """Decay of a running mean of the weights, such as 0.995, which is then the network that is measured, selected
    and saved; 0 for none."""

    def __post_init__(self) -> None:
        at_least("train.epochs", self.epochs, 1)
        at_least("train.batch", self.batch, 1)
        for name in ("beta", "lr", "decay"):
            positive(f"train.{name}", getattr(self, name))
        for part in self.milestones:
            if not 0 < part <= 1:
                raise ValueError(f"train.milestones are parts of the epochs, above 0 and up to 1, not {part}")
        if self.momentum_low is not None and not 0 <= self.momentum_low <= self.momentum:
            raise ValueError(f"train.momentum_low must be from 0 to train.momentum, not {self.momentum_low}")
        if self.grad_clip is not None:
            positive("train.grad_clip", self.grad_clip)
        if not 0 <= self.average < 1:
            raise ValueError(f"train.average must be at least 0 and below 1, not {self.average}")


TRAINING: dict[str, Train] = {
    "sat": Train(),
    "trades": Train(method="trades"),
    "mart": Train(method="mart"),
    "rst": Train(method="rst", epochs=400, batch=256, schedule="cosine", weight_decay=5e-4, grad_clip=None),
    # The CIFAR-10 settings of Wong et al. (2020, section 5 and their code), which computes in half precision besides:
    # --compute.precision bf16, which needs none of the loss scaling of their float16.
    "fast": Train(
        method="fast",
        epochs=15,
        lr=0.2,
        schedule="cyclic",
        weight_decay=5e-4,
        grad_clip=None,
        attack=Attack(steps=1, step=Fraction(5, 4)),
        attack_mode="train",
        momentum_low=0.8,
    ),
}
"""Each method as its paper, or the published code of Huang et al. (2021), trains it: there the gradient of SAT, TRADES
and MART is clipped at 5, that of RST is not."""


Precision = Literal["fp32", "tf32", "bf16"]
"""In what products are computed: float32, its factors rounded to TF32 on a GPU, or bf16 under autocast."""

AttackForm = Literal["auto", "plain", "folded", "folded-channels-last", "tiled"]
"""In which form a training's attack runs the network."""

Measured = Literal[
    "fgsm",
    "fgsm-random",
    "pgd20",
    "cw",
    "cw-batch",
    "gama100",
    "aa",
    "preview",
    "transfer",
    "stability",
    "stability-label",
    "lipschitz",
]
"""What can be measured of a network, by the name that scores, tables and files use."""


@dataclass(frozen=True)
class Evaluate:
    """How the trained networks are measured, and how the best checkpoint is chosen."""

    attacks: tuple[Measured, ...] = ("fgsm", "pgd20")
    """What is measured on the test images, beside the clean accuracy. aa is AutoAttack, preview its first two
    attacks alone (not AutoAttack), transfer needs --evaluate.source; stability and lipschitz are those of the paper's
    section 4.5. To stand beside the paper's figures as its published code makes them: fgsm-random (fgsm from a random
    start), cw-batch (the margin of a whole batch, where cw takes each image's own: far weaker) and stability-label
    (attacked away from the label, where stability goes away from the prediction, as the paper defines it). A finished
    run takes more of them with --resume."""
    select: Annotated[Literal["holdout", "test"], tyro.conf.arg(aliases=["--select"])] = "holdout"
    """Images whose PGD-20 accuracy selects the best checkpoint: a part held out of the training set, or the
    test set as the paper has it."""
    select_after: Ratio = Fraction(0)
    """The part of the epochs after which an epoch may be the best; the paper's code begins after 1/2."""
    batch: int = 500
    """Images attacked at once, over all processes together; by AutoAttack, which gives each process its own
    images, by each process."""
    source: str | None = None
    """The checkpoint (a .pt file) on which the transfer attack makes its images."""
    aa_images: int | None = 1000
    """AutoAttack and its preview take only the first so many test images; None takes all."""
    aa_shard: int = 500
    """Images after which AutoAttack saves what it found. Its batches never cross a shard."""
    aa_precision: Precision = "fp32"
    """What AutoAttack and its preview compute in, whatever the training did: its figures are compared with others'."""

    def __post_init__(self) -> None:
        for name in ("batch", "aa_shard"):
            at_least(f"evaluate.{name}", getattr(self, name), 1)
        if not 0 <= self.select_after < 1:
            raise ValueError(f"evaluate.select_after is a part of the epochs, below 1, not {self.select_after}")
        if self.aa_images is not None:
            at_least("evaluate.aa_images", self.aa_images, 1)
        if "transfer" in self.attacks and self.source is None:
            raise ValueError(
                "attacks has transfer, which needs a network to make the images on:"
                " give source, its checkpoint, such as runs/NAME/original/best.pt"
            )


@dataclass(frozen=True)
class Compute:
    """Options that change the speed, and how numbers are rounded.

    None of them changes what is drawn at random. Rounding alone makes results differ: an attack steps along signs of
    gradients, so that a last digit grows to another image, and training to other weights. Tables and files say in which
    precision, layout and form each figure was computed.
    """

    device: Literal["auto", "cpu"] = "auto"
    """auto takes a GPU where there is one."""
    precision: Precision = "fp32"
    """fp32 is float32 everywhere. tf32 lets a GPU round the factors of products to 10 bits, which torch by itself does
    for convolutions; it is quicker and is not what a CPU or an earlier GPU computes. bf16 computes under autocast;
    weights stay in fp32."""
    channels_last: bool = False
    """Keep images and weights in the NHWC memory layout."""
    compile: bool = False
    """Compile the networks with torch.compile. Lipschitz constants are measured uncompiled all the same."""
    capture: bool = False
    """Record the training attack once as a CUDA graph and replay it; needs a GPU. The graph keeps the memory of its
    intermediate results, beside what a training step takes."""
    attack: Annotated[AttackForm, tyro.conf.arg(aliases=["--compute"])] = "plain"
    """The form in which gradient attacks run the network. plain is its own forward. folded has convolutions do
    the work of the batch norms behind them, folded-channels-last in the NHWC layout besides, and tiled computes 3x3
    convolutions by Winograd's tiles besides (on a CPU). auto times them all at the start of each network, has the
    training's attack take the quickest and keeps to it when the run is resumed; the times are printed and stand in
    attack_form.json. What is measured of trained networks runs in a form that is named, but plain under auto, so that
    no two are measured in different forms. AutoAttack and Lipschitz constants always run plain."""
    deterministic: bool = False
    """Let torch take only algorithms that give the same bits each time, and warn where it has none. Without it cuDNN
    times its algorithms anew in each process, so that on a GPU a resumed run is the uninterrupted one only up to
    rounding."""

    def __post_init__(self) -> None:
        if self.compile and self.attack != "plain":
            raise ValueError(
                f"compute.attack is {self.attack}, and compute.compile compiles the attack's network as it is;"
                " leave one of them out"
            )


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How networks are trained, attacked and measured, whichever they are."""

    data: Data = field(default_factory=Data)
    threat: Threat = field(default_factory=Threat)
    train: Train = field(default_factory=Train)
    evaluate: Evaluate = field(default_factory=Evaluate)
    compute: Compute = field(default_factory=Compute)
    seed: int = 0
    """Seed of everything random: initial weights, order, augmentation, attacks."""
    seeds: int = 1
    """How often everything is done, with seed, seed + 1, ...: tables then give mean ± standard deviation."""

    def __post_init__(self) -> None:
        at_least("seeds", self.seeds, 1)
        if self.compute.attack not in ("auto", "plain") and self.train.attack_mode == "train":
            raise ValueError(
                f"compute.attack {self.compute.attack} needs the network in eval mode under the training's attack,"
                " where batch norms are fixed; leave it out, or give --train.attack-mode eval"
            )
        if self.compute.capture and self.train.attack_mode == "train":
            raise ValueError(
                "compute.capture records the attack with the network in eval mode: a graph would move batch statistics"
                " in its warm-up; leave it out, or give --train.attack-mode eval"
            )


@dataclass(frozen=True, kw_only=True)
class Experiment(Setting):
    """Two networks trained and attacked alike."""

    original: Network
    variant: Network
    paper: Annotated[tuple[PaperRow, PaperRow] | None, tyro.conf.Suppress] = None
    """What the paper reports for the original and the variant."""

    @property
    def networks(self) -> dict[str, Network]:
        """The networks by their role, which is also the name of their folder."""
        return {"original": self.original, "variant": self.variant}


@dataclass(frozen=True, kw_only=True)
class AnyNetwork(Setting):
    """A network of any kind against itself by a rule."""

    original: str
    """The network: zoo:vgg11, timm:resnet10t, torchvision:resnet18, package.module:Factory or file.py:Net, with
    arguments as in 'zoo:wrn?depth=28&widen=4'. It is built for the classes of the data."""
    rule: str = "10-10-4"
    """Stage rule of the variant."""
    gamma: float = 1.0
    """Factor on every width of the variant."""
    budget: Budget = None
    """Solve gamma so that the variant has the original's parameters or FLOPs, or a number of them: 5000000 for
    parameters, flops 300000000 for multiply-adds."""
    weights: str | None = None
    """A file of the original's weights to begin with, where it was trained elsewhere; the variant inherits of them."""

    def experiment(self) -> Experiment:
        """The two networks under this setting.

        Raises:
            NetworkError: The name of the network does not parse.
        """
        setting = {each.name: getattr(self, each.name) for each in fields(Setting)}
        variant = Network(self.original, self.rule, self.gamma, self.budget, self.weights)
        return Experiment(original=Network(self.original, weights=self.weights), variant=variant, **setting)
