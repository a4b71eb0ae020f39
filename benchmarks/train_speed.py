"""How many images a second adversarial training takes in, beside the loop of the paper's trainer, and what each trick
gives.

That loop is float32 in the usual memory layout, with loader processes that crop and flip each image with torchvision,
and attacks in eval mode with frozen parameters, which differentiate with respect to the images alone. From there one
trick is added after another. All ways are timed in turns in one process, so that whatever else the machine does falls
on all.

    python benchmarks/train_speed.py --batch 32
    python benchmarks/train_speed.py --network 'zoo:wrn?depth=16&widen=4' --only 'the harness' auto
    python benchmarks/train_speed.py --network zoo:wrn34_10 --rounds 20 --warmup 3 --bf16 --compile --capture
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
import torch.nn.functional as F
import tyro
from accelerate.state import AcceleratorState
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset as TorchDataset
from torchvision.transforms import v2

from reconfig.harness import files
from reconfig.harness.attacks.balls import NORMS
from reconfig.harness.building import build
from reconfig.harness.data.augmentation import as_floats, augment
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Attack, Compute, Setting, Threat, Train
from reconfig.harness.machine import machine, memory
from reconfig.harness.machine.computation import tf32
from reconfig.harness.machine.machine import Machine
from reconfig.harness.network import short
from reconfig.harness.randomness import generator
from reconfig.harness.reports.table import Table
from reconfig.harness.training.training import Training

Step = Callable[[], object]
"""Makes one step of training."""
IMAGES, CLASSES = 4096, 10


@dataclass(frozen=True)
class Speed:
    """What to time."""

    network: str = "zoo:vgg11"
    """Its name, such as zoo:vgg11, timm:resnet10t or file.py:Net."""
    batch: int = 128
    """Images in a step."""
    attack_steps: int = 10
    """Gradient steps of the attack."""
    rounds: int = 3
    """How many steps of each way are timed."""
    warmup: int = 1
    """Steps of each way before, which do not count; take 3 with --compile or --capture."""
    workers: int = 2
    """Loader processes of the paper's loop."""
    device: Literal["auto", "cpu"] = "auto"
    """auto takes a GPU where there is one."""
    tf32: bool = False
    """Add float32 products rounded to TF32, as the paper's loop's convolutions are on a GPU."""
    bf16: bool = False
    """Add bf16 autocast; slow on a CPU that has no instructions for it."""
    compile: bool = False
    """Add torch.compile."""
    capture: bool = False
    """Add the attack as a CUDA graph; needs a GPU."""
    only: tuple[str, ...] = ()
    """The ways to time beside the paper's loop, as the table names them; all where left out."""
    out: Path = Path("benchmarks/results/train_speed")
    """Folder of the results, FACTORY-BATCH-DEVICE.json and the same as .md."""

    @property
    def train(self) -> Train:
        """The training that every way does."""
        return Train(batch=self.batch, attack=Attack(steps=self.attack_steps))


class Timed:
    """Stands where a run shows its progress."""

    def say(self, line: str) -> None:
        """Prints what ``auto`` chose."""
        print(line)

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        """Shows nothing."""

    def epoch(self, row: dict[str, Any], steps: int) -> None:
        """Shows nothing."""


class Loaded(TorchDataset[tuple[Tensor, int]]):
    """Images as torchvision's CIFAR10 hands them out: each varied on its own when it is asked for."""

    def __init__(self, split: Split) -> None:
        self.images, self.labels = split.images.permute(0, 2, 3, 1).numpy(), split.labels.tolist()
        self.vary = v2.Compose(
            [
                v2.ToPILImage(),
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.vary(self.images[row]), self.labels[row]


def papers(speed: Speed, device: torch.device, batches: Iterator[tuple[Tensor, Tensor]]) -> Step:
    """A step of the paper's loop on the next of ``batches``."""
    model, train = network(speed).to(device), speed.train
    optimizer = torch.optim.SGD(model.parameters(), train.lr, train.momentum, weight_decay=train.weight_decay)

    def step() -> None:
        # As torch ships: the harness, which forbids it unless asked, sets this for the whole process.
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False
        images, labels = (tensor.to(device, non_blocking=True) for tensor in next(batches))
        adversarial = frozen_attack(model, images, labels, Threat(), train.attack)
        loss = F.cross_entropy(model(adversarial), labels)
        optimizer.zero_grad()
        loss.backward()
        if train.grad_clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), train.grad_clip)
        optimizer.step()

    return step


def frozen_attack(model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, attack: Attack) -> Tensor:
    """PGD from the images as the paper's trainer has it: eval mode, and parameters that ask for no gradient."""
    norm, eps = NORMS[threat.norm], float(threat.eps)
    model.eval().requires_grad_(False)
    adversarial = images
    for _ in range(attack.steps):
        adversarial = adversarial.detach().requires_grad_()
        F.cross_entropy(model(adversarial), labels).backward()
        if adversarial.grad is None:
            raise AssertionError("the images took no gradient")
        offset = adversarial.detach() + float(attack.step) * eps * norm.ascend(adversarial.grad) - images
        adversarial = (images + norm.project(offset, eps)).clamp(0, 1)
    model.train().requires_grad_(True)
    return adversarial.detach()


def from_loader(speed: Speed, split: Split) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches made by loader processes, without end."""
    pinned, stays = torch.cuda.is_available(), speed.workers > 0
    loader = DataLoader(
        Loaded(split), speed.batch, True, num_workers=speed.workers, pin_memory=pinned, persistent_workers=stays
    )
    while True:
        yield from loader


def from_device(speed: Speed, split: Split, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of images that lie on the device and are varied there, without end."""
    split, draws = split.to(device), generator(device, "speed")
    while True:
        batch = split[torch.randint(len(split), (speed.batch,), device=device, generator=draws)]
        yield as_floats(augment(batch.images, 4, True, draws)), batch.labels


def harness(speed: Speed, compute: Compute, split: Split, folder: Path) -> Step:
    """A step of the harness, computing so."""
    folder = folder / f"form-{compute.attack}"  # auto writes there what it chose
    folder.mkdir(exist_ok=True)
    computer = start(compute, folder)
    images, order, done = split.to(computer.device), torch.arange(len(split), device=computer.device), -1
    training = Training(computer, Setting(train=speed.train), network(speed), images, images, folder, 1e9, Timed())

    def step() -> None:
        nonlocal done
        done = (done + 1) % training.steps
        # A machine that was started later may have set the other; and the paper's loop keeps no freed memory.
        with tf32(compute.precision == "tf32"), memory.kept():
            training.step(training.batch(order, done), done)

    return step


def start(compute: Compute, folder: Path) -> Machine:
    """A machine that computes so, whatever accelerate was asked for before."""
    AcceleratorState._reset_state(reset_partial_state=True)
    return machine.start(compute, None, folder)


def network(speed: Speed) -> nn.Module:
    """The network, always with the same weights."""
    torch.manual_seed(0)
    return build(speed.network, CLASSES)


def ways(speed: Speed, folder: Path) -> dict[str, Step]:
    """Name -> a step of that way; each has what those before it have."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(256, (max(IMAGES, speed.batch), 3, 32, 32), generator=draws, dtype=torch.uint8)
    split = Split(images, torch.randint(CLASSES, (len(images),), generator=draws))
    compute = Compute(device=speed.device)
    device = start(compute, folder).device
    steps: dict[str, Step] = {"the paper's loop": papers(speed, device, from_loader(speed, split))}
    if wanted("images on the device", speed):
        steps["images on the device"] = papers(speed, device, from_device(speed, split, device))
    tricks: dict[str, dict[str, Any]] = {"the harness": {}}
    tricks |= {"TF32": {"precision": "tf32"}} if speed.tf32 else {}
    if not speed.compile:  # which compiles the attack's network too
        tricks |= {"batch norms folded in the attack": {"attack": "folded"}}
        tricks |= {"and channels last there": {"attack": "folded-channels-last"}}
        tricks |= {"and 3x3 convolutions by tiles": {"attack": "tiled"}} if device.type == "cpu" else {}
        tricks |= {"auto": {"attack": "auto"}}
    tricks |= {"channels last": {"channels_last": True}}
    tricks |= {"bf16 autocast": {"precision": "bf16"}} if speed.bf16 else {}
    tricks |= {"torch.compile": {"compile": True}} if speed.compile else {}
    tricks |= {"attack as a CUDA graph": {"capture": True}} if speed.capture else {}
    known = ("images on the device", *tricks)
    if unknown := set(speed.only) - {*known}:
        raise ValueError(f"there is no way called {', '.join(sorted(unknown))} here; they are {', '.join(known)}")
    for name, trick in tricks.items():
        compute = replace(compute, **trick)
        if wanted(name, speed):
            steps[name] = harness(speed, compute, split, folder)
    return steps


def wanted(way: str, speed: Speed) -> bool:
    """Whether a way is to be timed."""
    return not speed.only or way in speed.only


def measure(speed: Speed, steps: dict[str, Step]) -> dict[str, list[float]]:
    """Images a second of each way in each round, in turns."""
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for round in range(-speed.warmup, speed.rounds):
        for name, step in steps.items():
            began = _now()
            step()
            seconds = _now() - began
            if round >= 0:
                rates[name].append(speed.batch / seconds)
    return rates


def _now() -> float:
    """Seconds on a clock: with one thread the processor's, which other programs do not hasten or delay."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()


def _clock() -> str:
    cpu = not torch.cuda.is_available()
    return "this process's processor time" if cpu and torch.get_num_threads() == 1 else "time"


def summary(rates: dict[str, list[float]]) -> list[dict[str, Any]]:
    """A row for each way: the median rate, and those of its ratios to the paper's loop and to the way before.

    Ratios are of the same round.
    """
    first, *_ = rates.values()
    before = [first, *rates.values()]
    return [
        {
            "way": name,
            "images_per_second": statistics.median(each),
            "over_paper": _ratio(each, first),
            "over_previous": _ratio(each, previous),
        }
        for (name, each), previous in zip(rates.items(), before, strict=False)
    ]


def _ratio(rates: list[float], others: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(rates, others, strict=True))


def main(speed: Speed) -> None:
    """Measure, print the table and write it with the figures behind it."""
    with TemporaryDirectory() as folder:
        steps = ways(speed, Path(folder))
        rates = measure(speed, steps)
    rows = summary(rates)
    hardware = start(Compute(device=speed.device), speed.out).hardware()
    kind = "gpu" if hardware["gpu"] and speed.device != "cpu" else "cpu"
    title = f"{short(speed.network)}, SAT with PGD-{speed.attack_steps}, batch {speed.batch}"
    machine_text = f"{hardware['gpu'] or hardware['cpu']}, {hardware['threads']} threads, torch {torch.__version__}"
    table = Table(
        ["", "images/s", "to the paper's loop", "to the row above"],
        [
            [row["way"], f"{row['images_per_second']:.1f}", f"{row['over_paper']:.2f}", f"{row['over_previous']:.2f}"]
            for row in rows
        ],
        [f"{title}, {machine_text}", f"Medians over {speed.rounds} rounds of {_clock()}; ratios are of the same round"],
    )
    speed.out.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", f"{short(speed.network).rpartition(':')[2]}-{speed.batch}-{kind}")
    files.write_text(speed.out / f"{name}.md", table.markdown())
    fields = asdict(speed) | {"out": str(speed.out)}
    about = {"torch": torch.__version__, "hardware": hardware}
    files.write_json(speed.out / f"{name}.json", {"speed": fields, **about, "rows": rows, "rounds": rates})
    Console().print(table.rich())


if __name__ == "__main__":
    main(tyro.cli(Speed, description=__doc__))
