"""AutoAttack (Croce and Hein, 2020) in shards that survive a kill, over any number of processes.

The attacks are those of ``pyautoattack``, the official code. It draws its random numbers by the batch, the same for
every batch of one size, and after each of its four attacks packs the images still standing into new batches. So what
it finds depends, in rare images, on what it is given at once. Here it is given one *shard* at a time, a fixed range
of the test images: the verdicts of a shard are to the bit those of

    pyautoattack.AutoAttack(model, seed=seed, version="standard", ...).run_standard_evaluation(
        images, labels, batch_size=batch)

on the images of that shard, whichever process ran it, whatever ran before, and however often the run was killed, on
a device that computes the same twice: a GPU does with ``compute.deterministic`` alone, as cuDNN otherwise chooses its
algorithms by timing them in each process. In which precision, layout and form a shard was computed stands in it.
Each finished shard is a file; a run does the shards that have none, so it may also be extended to more images later.
"""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from reconfig import ReconfigError
from reconfig.harness import verdicts
from reconfig.harness.attacks.engine import frozen
from reconfig.harness.data.augmentation import as_floats
from reconfig.harness.data.dataset import Split
from reconfig.harness.experiment import Setting
from reconfig.harness.machine.computation import Computation
from reconfig.harness.machine.machine import Machine

STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
"""The four attacks of the standard version."""
PREVIEW = ("apgd-ce", "apgd-t")
"""Its first two: minutes where the four take an hour, and not AutoAttack."""

_NORMS = {"linf": "Linf", "l2": "L2"}
_LEAST_CLASSES = 4  # APGD-T's loss divides by a difference to the third and fourth largest logits

_log = logging.getLogger(__name__)


class AutoAttackError(ReconfigError):
    """AutoAttack that cannot run, or shards of something else where its own should lie."""


class _AsItTakes(nn.Module):
    """The network as the official code takes one.

    Its logits are in float32, as Square fails on bfloat16. Images come in the usual memory layout, and so do their
    gradients, whatever the network computes in: the official code views them as vectors.
    """

    def __init__(self, model: nn.Module, layout: torch.memory_format) -> None:
        super().__init__()
        self.model, self.layout = model, layout

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images.contiguous(memory_format=self.layout)).float()


def attack(
    machine: Machine, model: nn.Module, split: Split, setting: Setting, attacks: tuple[str, ...], folder: Path
) -> Tensor:
    """Whether ``model`` is right on each image of ``split`` and stays so under ``attacks``: bool [N].

    Finished shards lie in ``folder``, which all processes must see; those that are there already are not run again.
    ``model`` computes by ``computation``, which every shard records.

    Raises:
        AutoAttackError: If there are fewer than 4 classes, or a shard in ``folder`` is of other weights, images or
            settings, or was computed in another way.
        VerdictError: If a shard is damaged.
    """
    classes = _classes(machine, model, split)
    about = {
        "weights": verdicts.weights_digest(model),
        "norm": setting.threat.norm,
        "eps": str(setting.threat.eps),
        "seed": str(setting.seed),
        "batch": str(setting.evaluate.batch),
        "attacks": " ".join(attacks),
        "pyautoattack": version("pyautoattack"),
        "computed": str(computation(machine, setting)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    size = setting.evaluate.aa_shard
    shards = [range(first, min(first + size, len(split))) for first in range(0, len(split), size)]
    # By number, not by what is missing: that would look different to a process that looks later.
    mine = range(machine.accelerator.process_index, len(shards), machine.accelerator.num_processes)
    for number in mine:
        shard = shards[number]
        path, part = _path(folder, shard), split[shard.start : shard.stop]
        of_part = about | {"images": verdicts.digest([part.images, part.labels])}
        if path.exists():
            _read(path, of_part)
            continue
        standing = _standing(machine, model, part, setting, attacks, classes)
        verdicts.write(path, {"standing": standing}, of_part)
        _log.info(
            "%s: %d of %d images stand (shard %d of %d)", path, standing.sum(), len(shard), number + 1, len(shards)
        )
    machine.accelerator.wait_for_everyone()
    return torch.cat([verdicts.read(_path(folder, shard))[0]["standing"] for shard in shards])


def computation(machine: Machine, setting: Setting) -> Computation:
    """How networks compute under AutoAttack: in a precision of its own, whatever the training did."""
    return machine.computation(setting.evaluate.aa_precision)


def _classes(machine: Machine, model: nn.Module, split: Split) -> int:
    with torch.no_grad(), frozen(model):
        classes = model(machine.floats(split.images[:2])).shape[1]
    if classes < _LEAST_CLASSES:
        raise AutoAttackError(
            f"AutoAttack needs at least {_LEAST_CLASSES} classes (the loss of its targeted APGD compares four logits), "
            f"and this network has {classes}; measure it with --evaluate.attacks pgd20 cw gama100"
        )
    return classes


def _path(folder: Path, shard: range) -> Path:
    return folder / f"{shard.start:06}-{shard.stop:06}.safetensors"


def _read(path: Path, wanted: dict[str, str]) -> Tensor:
    found, about = verdicts.read(path)
    other = [f"{name} is {about.get(name)}, not {value}" for name, value in wanted.items() if about.get(name) != value]
    if other:
        raise AutoAttackError(
            f"{path} is of another run ({'; '.join(other)}); nothing was changed. Give the options that it was"
            f" begun with, or remove {path.parent} to attack anew"
        )
    return found["standing"]


def _standing(
    machine: Machine, model: nn.Module, split: Split, setting: Setting, attacks: tuple[str, ...], classes: int
) -> Tensor:
    """One call of the official code: which images are classified correctly and stay so."""
    from pyautoattack import AutoAttack  # only here: it loads what no other measure needs

    threat = setting.threat
    attacker = AutoAttack(
        _AsItTakes(model, machine.layout),
        device=machine.device,
        eps=float(threat.eps),
        norm=_NORMS[threat.norm],
        seed=setting.seed,
        version="standard",
    )
    attacker.attacks_to_run = list(attacks)
    # The standard nine targets, as far as there are that many wrong classes.
    attacker.apgd_targeted.n_target_classes = attacker.fab.n_target_classes = min(9, classes - 1)
    devices = [machine.device] if machine.device.type == "cuda" else []
    with frozen(attacker.model), torch.random.fork_rng(devices):
        _, answers = attacker.run_standard_evaluation(
            as_floats(split.images), split.labels, batch_size=setting.evaluate.batch
        )
    return answers == split.labels
