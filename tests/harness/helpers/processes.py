"""A training that any number of processes can share: the script of test_processes.py.

python tests/harness/helpers/processes.py OUT CASE                                        one process
python -m torch.distributed.run --nproc_per_node 2 ... processes.py OUT CASE   two
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch
from small_training import EXPERIMENT, Quiet, small_split
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

import reconfig.zoo
from reconfig.harness.data.dataset import load_dataset
from reconfig.harness.data.division import hold_out
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Attack, Compute, Data, Evaluate, Setting, Train, WeightPerturbation
from reconfig.harness.machine import machine
from reconfig.harness.training.training import Training


class Precise(nn.Module):
    """Begins float64: the signs of gradients near zero would otherwise be those of rounding errors."""

    def forward(self, images: Tensor) -> Tensor:
        return images.double()


def small() -> tuple[Setting, nn.Module, Split, Split]:
    """All that can differ between processes, in 2 epochs of 10 steps: TRADES, weight perturbation, averages."""
    train = Train(
        method="trades",
        epochs=2,
        batch=16,
        lr=0.02,
        schedule="cosine",
        grad_clip=1.0,
        attack=Attack(steps=2, step=Fraction(1, 2)),
        awp=WeightPerturbation(size=0.01),
        average=0.9,
    )
    torch.manual_seed(0)
    model = nn.Sequential(
        Precise(),
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 8), nn.BatchNorm1d(8)),
        *(nn.ReLU(), nn.Linear(8, 3)),
    ).double()
    return replace(EXPERIMENT, train=train, data=Data(crop_padding=1)), model, small_split(160), small_split(21, 1)


def digits(seed: int = 0) -> tuple[Setting, nn.Module, Split, Split]:
    """A narrow VGG-11 on scikit-learn's digits by the paper's method: 3 epochs of 21 steps."""
    train = Train(epochs=3, batch=64, lr=0.05, attack=Attack(steps=3, step=Fraction(1, 2)))
    dataset = load_dataset(Data("digits"))
    setting = replace(
        EXPERIMENT, train=train, data=Data(flip=False, crop_padding=2), evaluate=Evaluate(batch=100), seed=seed
    )
    torch.manual_seed(seed)
    network = reconfig.apply(reconfig.zoo.vgg11(num_classes=10), "10-10-10", gamma=0.125)
    return setting, nn.Sequential(Precise(), network).double(), *hold_out(dataset.train, 94, seed)


CASES: dict[str, Callable[[], tuple[Setting, nn.Module, Split, Split]]] = {
    "small": small,
    **{f"digits{seed}": lambda seed=seed: digits(seed) for seed in range(3)},
}


class Recorder(Quiet):
    """Keeps the loss of each step."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.total = 0.0

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        total = loss.item() * step
        self.losses.append(total - (self.total if step > 1 else 0.0))
        self.total = total


def main(out: Path, case: str) -> None:
    """Train, and write the losses, the accuracies and a few weights."""
    setting, model, train, selection = CASES[case]()
    computer = machine.start(Compute(device="cpu"), "none", out)
    recorder = Recorder()
    out.mkdir(parents=True, exist_ok=True)
    training = Training(computer, setting, model, train, selection, out, 1000, recorder)
    buckets = 0

    def count(group, bucket):  # type: ignore[no-untyped-def]  # torch wants no annotations that are texts
        nonlocal buckets
        buckets += 1
        return default_hooks.allreduce_hook(group, bucket)

    if isinstance(training.network, DistributedDataParallel):
        training.network.register_comm_hook(None, count)
    training.run()
    # A rank of its own must not have drifted: the weights of all of them are the same bits.
    weights = torch.cat([value.flatten().float() for value in model.state_dict().values()])
    everyone = computer.accelerator.gather(weights).view(computer.accelerator.num_processes, -1)
    if computer.main:
        found = {
            "processes": computer.accelerator.num_processes,
            "losses": recorder.losses,
            "synchronised": buckets,
            "history": training.state.history,
            "agree": bool((everyone == everyone[0]).all()),
            "weights": weights[:: max(1, len(weights) // 1000)].tolist(),
        }
        (out / "found.json").write_text(json.dumps(found))
    computer.accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
