"""The list of evidence, in the order of its worth, at full size or small enough for a CPU.

Everything is a command that the project has anyway, with the options that evidence needs. Nothing here imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.ledger import Held, Item, read_lines

ARITHMETIC = "by arithmetic: multiply-adds at 15 % of an H100's bf16 rate"
GUESS = "a guess"
CPU = "measured on a CPU core"
IMAGES = ("--data", "{data}")
"""The option that says where the images are. ``gather`` fills in what is in braces."""
TESTS = ("tests/harness/machine/test_machine.py", "tests/benchmarks/test_evidence_gpu.py")
"""Where the tests that need a GPU are. Others import packages that may be missing where the GPU is."""
RULES = {
    "vgg11": ("10-10-4", "10-10-10-7-4", "10-10-10-4-4", "4-10-10-10-10", "10-10-2"),
    "resnet18": ("10-10-4", "10-10-7-4", "10-10-4-4", "4-10-10-10", "10-10-2"),
}
"""What ``compare`` sets against the network as it is: the paper's rule, one that falls by stages, one that narrows the
last two, its contrary (the first stage narrow), and a harder one. VGG-11 has five stages, ResNet-18 four."""


@dataclass(frozen=True)
class Row:
    """Two networks of a recipe, trained and attacked."""

    recipe: str
    epochs: int
    """Of 100, where the paper trains for 100."""
    seeds: int
    minutes: float
    timed: str
    """The network of reconfig.zoo whose timing says which options are the quickest."""
    small_gamma: float
    """The width of its networks on a CPU."""

    @property
    def name(self) -> str:
        """That of its item."""
        return f"row-{self.recipe}"


ROWS = (
    Row("vgg11", 100, 3, 80.0, "vgg11", 0.1),
    Row("resnet18", 30, 1, 60.0, "resnet18", 0.06),
    Row("densenet121", 30, 1, 100.0, "resnet18", 0.15),
    Row("wrn34", 4, 1, 130.0, "wrn34_10", 0.03),
)
_SPEEDS = {"vgg11": 2.0, "resnet18": 3.0, "wrn34_10": 6.0}
_SMALL_BATCH = {"vgg11": 8, "resnet18": 4, "wrn34_10": 2}
_COMPARE_MINUTES = {"vgg11": 30.0, "resnet18": 120.0}


def items(gpu: bool) -> tuple[Item, ...]:
    """All evidence, the most valuable first: for a GPU, or small enough for minutes on a CPU."""
    first, *others = ROWS
    return (
        _tests(gpu),
        _correctness(gpu),
        *(_speed(gpu, network) for network in _SPEEDS),
        *(_limits(gpu, network) for network in _SPEEDS),
        _autoattack_speed(gpu),
        _row(gpu, first),
        _more_images(gpu, first),
        *(_row(gpu, row) for row in others),
        *(_compare(gpu, network, budget) for network in RULES for budget in ("params", "flops")),
        _together(gpu),
    )


def _tests(gpu: bool) -> Item:
    options = ["-m", "gpu", "-p", "no:cacheprovider", "--junitxml", "{folder}/tests/out/junit.xml"]
    return Item(
        "tests",
        "the tests that need a GPU",
        lambda folder: ["-m", "pytest", *TESTS, *options],
        3.0 if gpu else 0.2,
        GUESS if gpu else CPU,
    )


def _correctness(gpu: bool) -> Item:
    size = ["--images", "8", "--attacked", "4", "--steps", "3", "--gamma", "0.1", "--no-compile"]
    size += ["--autoattack", "preview"]
    return Item(
        "correctness",
        "steps of training and AutoAttack against float64, and each option against none",
        lambda folder: [
            *("-m", "benchmarks.gpu.correctness", "--out", "{folder}/correctness/out"),
            *IMAGES,
            *([] if gpu else size),
        ],
        4.0 if gpu else 0.8,
        GUESS if gpu else CPU,
        # What is left is known only to who goes on with it: half done until it is finished, once anything is.
        progress=lambda out: 0.5 if any(out.glob("*.json")) else 0.0,
    )


def _speed(gpu: bool, network: str) -> Item:
    name = f"speed-{network}"
    size = ["--rounds", "20", "--warmup", "3", "--workers", "8", "--tf32", "--bf16", "--compile", "--capture"]
    if not gpu:
        size = ["--batch", str(_SMALL_BATCH[network]), "--attack-steps", "1", "--rounds", "1", "--warmup", "0"]
        size += ["--workers", "0"]
    return Item(
        name,
        f"images a second with {network}, beside the loop of the paper's trainer, trick by trick",
        lambda folder: [
            "benchmarks/train_speed.py",
            "--network",
            f"zoo:{network}",
            "--out",
            f"{{folder}}/{name}/out",
            *size,
        ],
        _SPEEDS[network] if gpu else 0.4,
        GUESS if gpu else CPU,
    )


def _limits(gpu: bool, network: str) -> Item:
    name = f"limits-{network}"
    size = [] if gpu else ["--first", "2", "--largest", "2", "--rounds", "1", "--attack-steps", "1", "--matrix", "256"]

    def command(folder: Path) -> list[str]:
        chosen = quickest(folder, network) if gpu else []
        out = f"{{folder}}/{name}/out"
        return ["-m", "benchmarks.gpu.limits", "--network", f"zoo:{network}", "--out", out, *size, *chosen]

    return Item(
        name,
        f"share of the card's rate, memory, the largest batch and the longest kernels with {network}",
        command,
        2.5 if gpu else 0.4,
        GUESS if gpu else CPU,
    )


def _autoattack_speed(gpu: bool) -> Item:
    size = [] if gpu else ["--gamma", "0.1", "--epochs", "1", "--images", "4", "--attack", "preview"]
    return Item(
        "autoattack-speed",
        "AutoAttack beside pyautoattack called as its README says, verdict by verdict",
        lambda folder: [
            *("-m", "benchmarks.gpu.autoattack_speed", "--out", "{folder}/autoattack-speed/out"),
            *IMAGES,
            *size,
        ],
        8.0 if gpu else 0.8,
        GUESS if gpu else CPU,
        progress=lambda out: min(len(list(out.glob("*.way.json"))) / 5, 0.9),
    )


def _row(gpu: bool, row: Row) -> Item:
    attacks = "fgsm pgd20 cw gama100 aa stability lipschitz".split()
    if not gpu:
        attacks = ["fgsm", "pgd20", *(["preview"] if row is ROWS[0] else [])]
    epochs, seeds = (row.epochs, row.seeds) if gpu else (2, min(row.seeds, 2))

    def command(folder: Path) -> list[str]:
        out = ["--out", f"{{folder}}/{row.name}/out", "--resume", "--tracker", "none", "--save-every", "30"]
        size = ["--train.epochs", str(epochs), "--seeds", str(seeds), "--evaluate.attacks", *attacks]
        chosen = quickest(folder, row.timed) if gpu else _small(row)
        return ["benchmarks/run.py", row.recipe, *IMAGES, *out, *size, *chosen]

    fewer = "" if epochs == 100 else f", {epochs} epochs in place of 100"
    images = "all attacks, AutoAttack on 1,000 images" if gpu else "a few images"
    return Item(
        row.name,
        f"{row.recipe}: both networks, {images}, seeds: {seeds}{fewer}",
        command,
        row.minutes if gpu else 0.8,
        ARITHMETIC if gpu else CPU,
        progress=trained(2 * seeds, epochs),
    )


def _small(row: Row) -> list[str]:
    gamma = str(row.small_gamma)
    rule = ["--original.rule", "10-10-10", "--original.gamma", gamma, "--variant.gamma", gamma]
    images = ["--data.train-limit", "160", "--data.test-limit", "16", "--data.hold-out", "16", "--data.no-flip"]
    training = ["--train.batch", "32", "--train.lr", "0.05", "--train.attack.steps", "2", "--evaluate.aa-shard", "2"]
    # A CPU takes minutes for bf16 in a deep network, and torch 2.14 there crashes in the backward pass of a narrow 1x1
    # convolution with a stride in channels last, as residual networks have.
    compute = _GUESSED if row is ROWS[0] else ()
    return [*rule, *images, *training, "--evaluate.aa-images", "4", *compute]


def trained(networks: int, epochs: int) -> Callable[[Path], float]:
    """The part of the epochs of so many networks that a folder holds and can go on from."""

    def part(out: Path) -> float:
        found = 0.0
        for metrics in out.rglob("metrics.jsonl"):
            if (metrics.parent / "outcome.json").exists():
                found += 1
            elif (metrics.parent / "last.pt").exists():
                found += 0.9 * min(len(read_lines(metrics)) / epochs, 1)  # the attacks come after
        return min(found / networks, 1.0)

    return part


def _more_images(gpu: bool, row: Row) -> Item:
    name, images = f"{row.name}-autoattack", 10_000 if gpu else 6
    attack = "aa" if gpu else "preview"
    others = ["fgsm", "pgd20", "cw", "gama100"] if gpu else ["pgd20"]

    def command(folder: Path) -> list[str]:
        # Its shards lie beside the network's, in the run's own folder, and have to be computed alike.
        run = Held(folder, _row(gpu, row)).command()
        layout = [word for word in run if word in ("--compute.channels-last", "--compute.compile")]
        words = [f"{{folder}}/{row.name}/out", "--attacks", *others, attack, "--images", str(images)]
        return ["benchmarks/attack.py", *words, *IMAGES, *layout]

    return Item(
        name,
        f"{row.recipe}: AutoAttack and the gradient attacks in float32 on {images:,} images",
        command,
        200.0 if gpu else 0.8,
        GUESS if gpu else CPU,
        progress=lambda out: shards(out.parents[1] / row.name / "out", attack, images),
        needs=(row.name,),
    )


def shards(run: Path, attack: str, images: int) -> float:
    """The part of the images of every network in ``run`` that AutoAttack has judged."""
    folders = [path for path in run.rglob(attack) if path.is_dir()]
    judged = sum(
        int(stop) - int(start)
        for folder in folders
        for start, stop in (path.stem.split("-") for path in folder.glob("*-*.safetensors"))
    )
    return min(judged / (images * len(folders)), 1.0) if folders else 0.0


def _compare(gpu: bool, network: str, budget: str) -> Item:
    name, rules = f"compare-{network}-{budget}", RULES[network]
    epochs = 15 if gpu else 1

    def command(folder: Path) -> list[str]:
        out = [
            "--out",
            f"{{folder}}/{name}/out",
            "--epochs",
            str(epochs),
            "--budget",
            budget,
            "--network",
            f"zoo:{network}",
        ]
        chosen = quickest(folder, network) if gpu else ["--small"]
        return ["-m", "benchmarks.gpu.compare", *out, *IMAGES, "--rules", *rules, *chosen]

    return Item(
        name,
        f"{network} and {len(rules)} rules at equal {budget}, {epochs} epochs in place of 100",
        command,
        _COMPARE_MINUTES[network] if gpu else 0.8,
        ARITHMETIC if gpu else CPU,
        kind=f"compare {network}",
        progress=trained(1 + len(rules), epochs),
    )


def _together(gpu: bool) -> Item:
    size = ["--epochs", "2"] if gpu else ["--epochs", "1", "--small"]

    def command(folder: Path) -> list[str]:
        chosen = quickest(folder, "vgg11") if gpu else []
        return ["-m", "benchmarks.gpu.together", "--out", "{folder}/together/out", *IMAGES, *size, *chosen]

    return Item(
        "together",
        "two trainings side by side on one card, against one after the other, by Ray",
        command,
        4.0 if gpu else 0.8,
        GUESS if gpu else CPU,
    )


# ---------------------------------------------------------------- what was found to be quick

_OPTIONS = {
    "TF32": ("--compute.precision", "tf32"),
    "channels last": ("--compute.channels-last",),
    "bf16 autocast": ("--compute.precision", "bf16"),
    "torch.compile": ("--compute.compile",),
    "attack as a CUDA graph": ("--compute.capture",),
}
"""The ways of ``train_speed``, each added to those before, as options."""
_GUESSED = (*_OPTIONS["channels last"], *_OPTIONS["bf16 autocast"])


def quickest(folder: Path, network: str) -> list[str]:
    """The options of the quickest way that ``train_speed`` found; those of a good guess where it was not run."""
    for path in sorted((folder / f"speed-{network}" / "out").glob("*-gpu.json")):
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        best = max(range(len(rows)), key=lambda place: rows[place]["images_per_second"])
        ways = [row["way"] for row in rows[: best + 1] if row["way"] in _OPTIONS]
        chosen = {_OPTIONS[way][0]: _OPTIONS[way] for way in ways}  # of two precisions the later
        return [word for words in chosen.values() for word in words]
    return list(_GUESSED)
