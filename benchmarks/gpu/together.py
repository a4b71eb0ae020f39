"""Two trainings side by side on one card by Ray's fractions, against the same two one after the other.

On a machine without a GPU the fractions are of cores.

    python -m benchmarks.gpu.together --out runs/together --data digits --small
"""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks.train_speed import start
from reconfig.harness import command, files
from reconfig.harness.experiment import Attack, Compute, Data, Evaluate, Train
from reconfig.harness.jobs.outcome import read_outcome
from reconfig.harness.options import SweepOptions
from reconfig.harness.studies import sweeping
from reconfig.harness.sweep import Variants


@dataclass(frozen=True)
class Together:
    """What to train."""

    out: Path
    """Folder of together.json and together.md."""
    data: str | None = None
    """Where the images are, as for run.py."""
    epochs: int = 2
    """Epochs of each of the two."""
    small: bool = False
    """A few images and narrow networks, for a try on a CPU."""
    compute: Compute = field(default_factory=Compute)
    """How to compute."""

    @property
    def sweep(self) -> Variants:
        """The two as a sweep."""
        data, train, gamma = Data(self.data), Train(epochs=self.epochs), 1.0
        if self.small:
            data, gamma = replace(data, train_limit=160, test_limit=16, hold_out=16), 0.1
            train = replace(train, batch=32, lr=0.02, attack=Attack(steps=2))
        return Variants(
            variants=(f"zoo:vgg11 gamma={gamma}", f"zoo:vgg11 10-10-4 gamma={gamma}"),
            budget="none",
            data=data,
            train=train,
            evaluate=Evaluate(attacks=("pgd20",)),
            compute=self.compute,
        )


def seconds(wanted: Together, folder: Path, at_once: int, gpu: bool) -> dict[str, Any]:
    """How long the two take if so many run at once, and the training alone of each."""
    shutil.rmtree(folder, ignore_errors=True)
    options = SweepOptions(out=folder, gpus_per_run=1 / at_once if gpu else 0.0, cpus=2 if gpu else at_once)
    began = time.monotonic()
    sweeping.run(wanted.sweep, options)
    took = time.monotonic() - began
    return {"seconds": took, "training": [read_outcome(path.parent).seconds for path in folder.rglob("outcome.json")]}


def main(wanted: Together) -> None:
    """Time both ways, and write the table."""
    wanted.out.mkdir(parents=True, exist_ok=True)
    hardware = start(wanted.compute, wanted.out).hardware()
    gpu = hardware["gpu"] is not None
    found = {
        name: seconds(wanted, wanted.out / name.replace(" ", "-"), at_once, gpu)
        for name, at_once in {"one after the other": 1, "side by side": 2}.items()
    }
    files.write_json(wanted.out / "together.json", {"torch": torch.__version__, "hardware": hardware, "ways": found})
    lines = [f"VGG-11 and VGG-11-R, epochs: {wanted.epochs}, {hardware['gpu'] or hardware['cpu']}", ""]
    lines += ["|  | seconds for both | of training alone, each |", "| --- | --: | --- |"]
    for name, row in found.items():
        each = ", ".join(f"{value:.1f}" for value in row["training"])
        lines.append(f"| {name} | {row['seconds']:.1f} | {each} |")
    files.write_text(wanted.out / "together.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    wanted = tyro.cli(Together, description=__doc__)
    sys.exit(command.finish(lambda: main(wanted)))
