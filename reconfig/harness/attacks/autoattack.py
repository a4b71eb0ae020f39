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
Each shard is a file, written again after each of the attacks: a kill costs one attack on one shard. A run does what is
missing, so it may also be extended to more images later.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reconfig import ReconfigError
from reconfig.harness import verdicts
from reconfig.harness.attacks.engine import frozen
from reconfig.harness.data.augmentation import as_floats
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Setting
from reconfig.harness.machine.computation import Computation
from reconfig.harness.machine.machine import Machine
from reconfig.harness.watching import Passes, Watch

STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
"""The four attacks of the standard version."""
PREVIEW = ("apgd-ce", "apgd-t")
"""Its first two: minutes where the four take an hour, and not AutoAttack."""

_NORMS = {"linf": "Linf", "l2": "L2"}
_LEAST_CLASSES = 4  # APGD-T's loss divides by a difference to the third and fourth largest logits

_DONE = "done"
"""What a shard's file calls the attacks that its verdicts have in them."""
_log = logging.getLogger("auto-attack")
"""That of the official code: its warnings are for whoever reads the figures."""


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
    machine: Machine,
    model: nn.Module,
    split: Split,
    setting: Setting,
    attacks: tuple[str, ...],
    folder: Path,
    watch: Watch | None = None,
) -> Tensor:
    """Whether ``model`` is right on each image of ``split`` and stays so under ``attacks``: bool [N].

    Shards lie in ``folder``, which all processes must see; what of them is finished is not run again. ``model``
    computes by ``computation``, which every shard records. ``watch`` hears of each attack by ``part_name``.

    Raises:
        AutoAttackError: If there are fewer than 4 classes, or a shard in ``folder`` is of other weights, images or
            settings, or was computed in another way.
        VerdictError: If a shard is damaged.
    """
    classes = check_classes(machine, model, split)
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
    official = _Official(machine, model, setting, classes)
    shards = ranges(len(split), setting)
    # By number, not by what is missing: that would look different to a process that looks later.
    mine = range(machine.accelerator.process_index, len(shards), machine.accelerator.num_processes)
    for number in mine:
        shard = shards[number]
        part = split[shard.start : shard.stop]
        of_part = about | {"images": verdicts.digest([part.images, part.labels])}
        _finish(official, part, attacks, _path(folder, shard), of_part, watch)
    machine.accelerator.wait_for_everyone()
    return torch.cat([verdicts.read(_path(folder, shard))[0]["standing"] for shard in shards]).to(split.labels.device)


def computation(machine: Machine, setting: Setting) -> Computation:
    """How networks compute under AutoAttack: in a precision of its own and by their own forward."""
    return replace(machine.computation(setting.evaluate.aa_precision), form="plain")


def ranges(images: int, setting: Setting) -> list[range]:
    """The shards of so many images."""
    size = setting.evaluate.aa_shard
    return [range(first, min(first + size, images)) for first in range(0, images, size)]


def passes(name: str, classes: int) -> Passes:
    """How often ``name`` runs a network for an image that stands to its end: as counted, in its standard version."""
    targets = _targets(classes)
    return {
        "apgd-ce": Passes(101, 2),
        "apgd-t": Passes(101 * targets, targets + 2),
        "fab-t": Passes(100 * targets, 104 * targets),
        "square": Passes(0, 5004),
    }[name]


def part_name(attacks: Sequence[str], name: str) -> str:
    """What a watch hears of one of ``attacks``."""
    whole = "AutoAttack" if tuple(attacks) == STANDARD else "APGD"
    return f"{whole}: {name.upper()}"


def check_classes(machine: Machine, model: nn.Module, split: Split) -> int:
    """The number of classes that ``model`` knows.

    Raises:
        AutoAttackError: If they are too few.
    """
    with torch.no_grad(), frozen(model):
        classes = model(machine.floats(split[:2].images)).shape[1]
    if classes < _LEAST_CLASSES:
        raise AutoAttackError(
            f"AutoAttack needs at least {_LEAST_CLASSES} classes (the loss of its targeted APGD compares four logits), "
            f"and this network has {classes}; measure it with --evaluate.attacks pgd20 cw gama100"
        )
    return classes


def _targets(classes: int) -> int:
    """The standard nine targets, as far as there are that many wrong classes."""
    return min(9, classes - 1)


def _path(folder: Path, shard: range) -> Path:
    return folder / f"{shard.start:06}-{shard.stop:06}.safetensors"


def _finish(
    official: _Official,
    part: Split,
    attacks: Sequence[str],
    path: Path,
    about: Mapping[str, str],
    watch: Watch | None,
) -> None:
    """Do of a shard what its file at ``path`` has not, and write that after each attack."""
    standing, done = _read(path, about) if path.exists() else (None, 0)
    if watch is not None and standing is not None:
        count = int(standing.sum())
        for name in attacks[:done]:
            watch.part(part_name(attacks, name), count, len(part))
            watch.judged(count, count)
    if done == len(attacks):
        return
    images = as_floats(part.images)
    if standing is None:
        standing = official.right(images, part.labels)
    standing = standing.to(part.labels.device)
    for position in range(done, len(attacks)):
        name = attacks[position]
        if watch is not None:
            watch.part(part_name(attacks, name), int(standing.sum()), len(part))
        standing = official.standing(name, images, part.labels, standing, watch)
        verdicts.write(path, {"standing": standing}, {**about, _DONE: " ".join(attacks[: position + 1])})


def _read(path: Path, wanted: Mapping[str, str]) -> tuple[Tensor, int]:
    """Which images stand, and after how many of the attacks."""
    found, about = verdicts.read(path)
    other = [f"{name} is {about.get(name)}, not {value}" for name, value in wanted.items() if about.get(name) != value]
    if other:
        raise AutoAttackError(
            f"{path} is of another run ({'; '.join(other)}); nothing was changed. Give the options that it was"
            f" begun with, or remove {path.parent} to attack anew"
        )
    return found["standing"], len(about.get(_DONE, about["attacks"]).split())


class _Official:
    """The attacks of the official code, each by itself, on what is given to it together."""

    def __init__(self, machine: Machine, model: nn.Module, setting: Setting, classes: int) -> None:
        from pyautoattack import AutoAttack  # only here: it loads what no other measure needs

        self.device, self.batch = machine.device, setting.evaluate.batch
        self.attacker = AutoAttack(
            _AsItTakes(model, machine.layout),
            device=machine.device,
            eps=float(setting.threat.eps),
            norm=_NORMS[setting.threat.norm],
            seed=setting.seed,
            version="standard",
        )
        self.attacker.apgd_targeted.n_target_classes = self.attacker.fab.n_target_classes = _targets(classes)
        self.attacker.apgd.loss, self.attacker.fab.targeted = "ce", True
        self.perturb: dict[str, Any] = {
            "apgd-ce": self.attacker.apgd.perturb,
            "apgd-t": self.attacker.apgd_targeted.perturb,
            "fab-t": self.attacker.fab.perturb,
            "square": self.attacker.square.perturb,
        }

    def right(self, images: Tensor, labels: Tensor) -> Tensor:
        """Which images [N, C, H, W] are classified correctly as they are: bool [N]. Warns of what attacks miss."""
        from pyautoattack import checks

        model, first = self.attacker.model, images[: self.batch]
        with torch.no_grad(), frozen(model):
            checks.check_randomized(model, first, labels[: self.batch], bs=self.batch, logger=_log)
            checks.check_range_output(model, first, logger=_log)
            answers = [model(batch).argmax(1) for batch in images.split(self.batch)]
        return torch.cat(answers) == labels

    def standing(self, name: str, images: Tensor, labels: Tensor, before: Tensor, watch: Watch | None) -> Tensor:
        """Which of the images that stood ``before`` stand after the attack ``name``: bool [N]."""
        from pyautoattack import checks

        model, after = self.attacker.model, before.clone()
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.no_grad(), frozen(model), torch.random.fork_rng(devices):
            for rows in before.nonzero()[:, 0].split(self.batch):
                # Every attack seeds the global generator itself, so that what ran before it does not matter.
                adversarial = self.perturb[name](images[rows], labels[rows])
                right = model(adversarial).argmax(1) == labels[rows]
                after[rows] = right
                if watch is not None:
                    watch.judged(len(rows), int(right.sum()))
        if name == "square":
            parts = {"clean": 1.0, "before": before.float().mean().item(), name: after.float().mean().item()}
            checks.check_square_sr(parts, logger=_log)
        return after
