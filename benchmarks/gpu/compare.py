"""A network and several rules at equal parameters or multiply-adds, trained one after another in this process.

It is the sweep ``compare`` without Ray, for a machine that does not have it; the folder is a sweep's.

    python -m benchmarks.gpu.compare --network zoo:vgg11 --rules 10-10-4 10-10-2 --budget flops --out runs/compare
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
import tyro

from reconfig.harness import command
from reconfig.harness.experiment import Attack, Compute, Data, Evaluate, Train
from reconfig.harness.options import SweepOptions
from reconfig.harness.studies import sweeping
from reconfig.harness.sweep import Compare


@dataclass(frozen=True)
class Rules:
    """What to compare."""

    out: Path
    """Folder of the sweep; what it holds is gone on with."""
    network: str = "zoo:vgg11"
    """Its name, such as zoo:vgg11, timm:resnet10t or file.py:Net."""
    rules: tuple[str, ...] = ("10-10-4",)
    """Stage rules, each beside the network as it is."""
    budget: Literal["params", "flops"] = "params"
    """What all have as much of as the network as it is."""
    epochs: int = 15
    """Epochs of each; the rate falls along a cosine, as fewer epochs want it."""
    data: str | None = None
    """Where the images are, as for run.py."""
    small: bool = False
    """A few images and narrow networks, for a try on a CPU."""
    compute: Compute = field(default_factory=Compute)
    """How to compute."""

    @property
    def sweep(self) -> Compare:
        """The same as a sweep."""
        train, data, gamma = Train(epochs=self.epochs, schedule="cosine"), Data(self.data), 1.0
        evaluate = Evaluate(attacks=("pgd20",))
        if self.small:
            gamma = 0.1
            data = replace(data, train_limit=64, test_limit=16, hold_out=16)
            train = replace(train, batch=16, lr=0.02, attack=Attack(steps=1))
        return Compare(
            network=self.network,
            gamma=gamma,
            rules=self.rules,
            hold=self.budget,
            data=data,
            train=train,
            evaluate=evaluate,
            compute=self.compute,
        )


def main(wanted: Rules) -> int:
    """Run the comparison, or go on with it; the exit code."""
    options = SweepOptions(
        out=wanted.out, resume=True, save_every=30.0, here=True, cpus_per_run=torch.get_num_threads()
    )
    return command.finish(lambda: sweeping.run(wanted.sweep, options))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Rules, description=__doc__)))
