"""Whether a device computes what the equations say: against float64 on the CPU, and each option against none.

Every check is a file in ``--out``, NAME.json: its figures, the bounds that it was held to, and whether it holds. A
check that is there is not made again. ``correctness.md`` has them all. Without a GPU the device is the CPU.

    python -m benchmarks.gpu.correctness --out runs/correctness --data digits
"""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
import tyro
from torch import Tensor, nn

from benchmarks.gpu import subjects
from benchmarks.gpu.steps import BOUNDS, Way, compared
from benchmarks.train_speed import Timed, start
from reconfig.harness import files
from reconfig.harness.attacks.balls import random_start
from reconfig.harness.data.dataset import Dataset, load_dataset
from reconfig.harness.experiment import Compute, Data, Evaluate, Setting, Threat
from reconfig.harness.machine.machine import Machine
from reconfig.harness.measuring.scores import read_verdicts, scores
from reconfig.harness.randomness import generator
from reconfig.harness.training.methods import near
from reconfig.harness.training.training import Training

Figures = dict[str, Any]


@dataclass(frozen=True)
class Correctness:
    """What to check, and on how much."""

    out: Path
    """Folder of the checks."""
    data: str | None = None
    """Where the images are, as for run.py."""
    images: int = 64
    """Images of a training step."""
    attacked: int = 16
    """Images that AutoAttack is given."""
    steps: int = 8
    """Training steps with each option."""
    gamma: float = 0.25
    """Width of the VGG-11 that is checked."""
    autoattack: Literal["aa", "preview"] = "aa"
    """The whole of AutoAttack, or its first two attacks."""
    compile: bool = True
    """Check torch.compile too: minutes on a CPU."""
    device: Literal["auto", "cpu"] = "auto"
    """auto takes a GPU where there is one."""


@dataclass(frozen=True)
class Subject:
    """What the checks share."""

    wanted: Correctness
    dataset: Dataset
    model: nn.Module
    """Trained for a moment, on the CPU in float32."""

    def machine(self, folder: Path, **compute: Any) -> Machine:
        """The machine that computes so."""
        return start(Compute(**{"device": self.wanted.device} | compute), folder)


# ---------------------------------------------------------------- one step, against float64


def steps(subject: Subject, folder: Path) -> Iterator[tuple[str, Callable[[], Figures]]]:
    """Each method's step in each way, against float64 on the CPU: same weights, images and starts."""
    device = subject.machine(folder).device
    ways = {
        "cpu fp32": Way(torch.device("cpu")),
        "device fp32": Way(device),
        "device fp32 channels last": Way(device, channels_last=True),
        "device bf16": Way(device, bf16=True),
    }
    batch = subject.dataset.train[: subject.wanted.images]
    images, _ = subjects.floats(batch)
    for method, draw in (("sat", random_start), ("trades", near)):
        offsets = draw(images, Threat(), generator("cpu", "correctness", method))
        for name, way in ways.items():

            def check(method: str = method, offsets: Tensor = offsets, way: Way = way) -> Figures:
                return _judged(compared(subject.model, way, method, batch, offsets), BOUNDS[method, way.bf16])

            yield f"{method} {name}", check


def _judged(figures: Figures, bounds: dict[str, float]) -> Figures:
    return {"holds": all(figures[name] <= bound for name, bound in bounds.items()), "bounds": bounds} | figures


# ---------------------------------------------------------------- AutoAttack, against float64


class _Exact(nn.Module):
    """A float64 network that takes and gives float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = deepcopy(model).double()

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images.double()).float()


def autoattacks(subject: Subject, folder: Path) -> Iterator[tuple[str, Callable[[], Figures]]]:
    """AutoAttack's verdicts on the device and on the CPU in float32, against the CPU's in float64.

    The official code draws on the CPU whatever the device, so all begin alike: rounding alone changes a few verdicts.
    """
    split, name = subject.dataset.test[: subject.wanted.attacked], subject.wanted.autoattack
    devices: tuple[str, ...] = ("cpu", "auto") if subject.machine(folder).device.type == "cuda" else ("cpu",)

    def standing(device: str, model: nn.Module) -> Tensor:
        computer = start(Compute(device=device), folder)  # type: ignore[arg-type]  # one of the two words
        setting = Setting(threat=Threat(), evaluate=Evaluate(attacks=(name,), aa_images=None, batch=len(split)))
        network = computer.set_up(model)
        out = folder / f"autoattack-{device}-{type(model).__name__}"
        scores(computer, network, split.to(computer.device), setting, out)
        return read_verdicts(out).right[name]

    def check(device: str) -> Figures:
        truth = standing("cpu", _Exact(subject.model))
        found = standing(device, deepcopy(subject.model))
        differing, bound = int((truth != found).sum()), max(1, len(split) // 20)
        figures = {"verdicts that differ": differing, "exact_standing": int(truth.sum()), "images": len(split)}
        return {"holds": differing <= bound, "bounds": {"verdicts that differ": bound}} | figures

    for device in devices:
        yield f"{name} {'device' if device == 'auto' else device} fp32", partial(check, device)


# ---------------------------------------------------------------- options of a training, against none


def options(subject: Subject, folder: Path) -> Iterator[tuple[str, Callable[[], Figures]]]:
    """The first steps of a training with each option, against the same without."""
    given: dict[str, dict[str, Any]] = {
        "channels last": {"channels_last": True},
        "bf16": {"precision": "bf16"},
        "compiled": {"compile": True},
        "bf16, channels last, compiled": {"precision": "bf16", "channels_last": True, "compile": True},
    }
    if subject.machine(folder).device.type == "cuda":
        given["CUDA graph"] = {"capture": True}
        given["all"] = {"capture": True, "precision": "bf16", "channels_last": True, "compile": True}
    for name, compute in given.items():
        if "compile" in compute and not subject.wanted.compile:
            continue
        low = "precision" in compute
        bounds = {"first_loss": 0.05 if low else 0.005, "losses": 0.2 if low else 0.05}

        def check(compute: dict[str, Any] = compute, bounds: dict[str, float] = bounds) -> Figures:
            plain, other = _losses(subject, {}), _losses(subject, compute)
            distance = [abs(one - two) / abs(one) for one, two in zip(plain, other, strict=True)]
            figures = {"first_loss": distance[0], "losses": max(distance), "plain": plain, "with": other}
            return _judged(figures, bounds)

        yield f"training {name}", check


def _losses(subject: Subject, compute: dict[str, Any]) -> list[float]:
    """The losses of a training's first steps."""
    with TemporaryDirectory() as folder:
        training = _training(subject, Path(folder), compute)
        order = torch.arange(len(training.images), device=training.machine.device)
        count = min(subject.wanted.steps, training.steps)
        return [float(training.step(training.batch(order, step), step)[0]) for step in range(count)]


def _training(
    subject: Subject, folder: Path, compute: dict[str, Any], epochs: int = 1, watcher: Timed | None = None
) -> Training:
    machine = subject.machine(folder, **compute)
    train = replace(subjects.SHORT.train, batch=16, epochs=epochs, lr=0.01)
    setting = replace(subjects.SHORT, train=train)
    images = subject.dataset.train[: 16 * subject.wanted.steps].to(machine.device)
    model = deepcopy(subject.model)
    return Training(machine, setting, model, images, images[:32], folder, 0.0, watcher or Timed())


# ---------------------------------------------------------------- what is silent when it is wrong


def precisions(subject: Subject, folder: Path) -> Iterator[tuple[str, Callable[[], Figures]]]:
    """In what the attack and the loss of a bf16 training compute: the loss runs through the prepared network, the
    attack through the bare one.
    """

    def check() -> Figures:
        with TemporaryDirectory() as inside:
            training = _training(subject, Path(inside), {"precision": "bf16"})
            seen: dict[str, set[str]] = {"attack": set(), "loss": set()}

            def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
                seen["loss" if module.training else "attack"].add(str(output.dtype))

            first = next(module for module in training.model.modules() if isinstance(module, nn.Conv2d))
            first.register_forward_hook(note)
            order = torch.arange(len(training.images), device=training.machine.device)
            training.step(training.batch(order, 0), 0)
            found = {name: sorted(kinds) for name, kinds in seen.items()}
            return {"holds": all(kinds == ["torch.bfloat16"] for kinds in found.values())} | found

    yield "bf16 in attack and loss", check


class _StoppedError(Exception):
    pass


class _Stops(Timed):
    """Stops a training, as a kill would, after so many steps."""

    def __init__(self, after: int) -> None:
        self.left = after

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        """Counts, and stops."""
        self.left -= 1
        if self.left < 0:
            raise _StoppedError


def resumptions(subject: Subject, folder: Path) -> Iterator[tuple[str, Callable[[], Figures]]]:
    """With ``deterministic``, a training that was stopped within an epoch ends in the bits of one that was not."""
    for name, compute in {"": {}, " bf16 channels last": {"precision": "bf16", "channels_last": True}}.items():

        def check(compute: dict[str, Any] = compute) -> Figures:
            compute = compute | {"deterministic": True}
            ends, said = [], set()
            for stops in (None, subject.wanted.steps + subject.wanted.steps // 2):
                with TemporaryDirectory() as inside, warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    if stops is not None:
                        with suppress(_StoppedError):
                            _training(subject, Path(inside), compute, 2, _Stops(stops)).run()
                    training = _training(subject, Path(inside), compute, 2)
                    training.run()
                    ends.append({name: value.cpu() for name, value in training.model.state_dict().items()})
                    said |= {str(one.message).splitlines()[0] for one in caught if "determin" in str(one.message)}
            equal = all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
            return {"holds": equal, "torch said": sorted(said)}

        yield f"resume to the bit{name}", check


CHECKS = (steps, precisions, options, resumptions, autoattacks)
"""In the order of what is worth most."""


# ---------------------------------------------------------------- all of them


def run(wanted: Correctness) -> list[tuple[str, Figures]]:
    """Make the checks that are not there yet; all by name."""
    wanted.out.mkdir(parents=True, exist_ok=True)
    dataset = load_dataset(Data(wanted.data))
    computer = start(Compute(device=wanted.device), wanted.out)
    trained = subjects.train(computer, dataset, subjects.network(dataset, wanted.gamma), 2, wanted.out / "model", 4096)
    # accelerate leaves a mark on what it prepared, and would not prepare it, or a copy, for another precision.
    model = subjects.network(dataset, wanted.gamma)
    model.load_state_dict(trained.state_dict())
    subject = Subject(wanted, dataset, model)
    found = []
    for kind in CHECKS:
        for name, check in kind(subject, wanted.out):
            path = wanted.out / f"{name.replace(' ', '-').replace(',', '')}.json"
            if not path.exists():
                files.write_json(path, {"hardware": computer.hardware()} | _made(check))
            figures = files.read_json(path)
            found.append((name, figures))
            print(f"{name}: {'holds' if figures['holds'] else 'DOES NOT HOLD'}", flush=True)
    return found


def _made(check: Callable[[], Figures]) -> Figures:
    """What a check finds; one that breaks must not take the others with it."""
    try:
        return check()
    except Exception as error:
        return {"holds": False, "error": files.reason(error), "traceback": traceback.format_exc()}


def table(found: list[tuple[str, Figures]]) -> str:
    """The checks in Markdown."""
    lines = ["| check | holds | figures (bound) |", "| --- | --- | --- |"]
    for name, figures in found:
        bounds = figures.get("bounds", {})
        cells = [
            (f"{key} {value:.2g}" if isinstance(value, float) else f"{key} {value}")
            + (f" ({bounds[key]:g})" if key in bounds else "")
            for key, value in figures.items()
            if key not in {"holds", "bounds", "hardware", "traceback", "plain", "with"}
        ]
        lines.append(f"| {name} | {'yes' if figures['holds'] else '**no**'} | {', '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(wanted: Correctness) -> None:
    """Check, and write the table."""
    files.write_text(wanted.out / "correctness.md", table(run(wanted)))


if __name__ == "__main__":
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read once, at the first use
    main(tyro.cli(Correctness, description=__doc__))
