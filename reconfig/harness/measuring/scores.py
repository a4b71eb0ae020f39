"""A network measured: the figures asked for, and what is kept of them in the folder of its checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from reconfig.harness import verdicts
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Setting
from reconfig.harness.machine.computation import Computation, tf32
from reconfig.harness.machine.machine import Machine
from reconfig.harness.measuring.measures import MEASURES, Finding, Subject, share
from reconfig.harness.measuring.timing import timed
from reconfig.harness.watching import Part, Rates, Watch, counted

VERDICTS = "verdicts.safetensors"
"""The file of verdicts in the folder of a checkpoint."""
_COMPUTED = "computed "


@dataclass(frozen=True)
class Verdicts:
    """For each measure that judges images, whether the network is right on each, and how that was computed."""

    right: dict[str, Tensor]
    """bool [N] each."""
    computed: dict[str, str]

    def count(self, measure: str, computed: str) -> int:
        """On how many images ``measure`` is known, computed so."""
        return len(self.right.get(measure, ())) if self.computed.get(measure) == computed else 0


def read_verdicts(folder: Path) -> Verdicts:
    """What ``scores`` left in the folder of a checkpoint; nothing where it was not measured.

    Raises:
        VerdictError: If the file is damaged.
    """
    return _split(*verdicts.read(folder / VERDICTS))[0] if (folder / VERDICTS).exists() else Verdicts({}, {})


def computations(machine: Machine, setting: Setting, measures: Iterable[str]) -> dict[str, str]:
    """How each of ``measures`` is computed, as files and tables have it."""
    return {name: str(MEASURES[name].computation(machine, setting)) for name in measures}


def scores(
    machine: Machine, model: nn.Module, split: Split, setting: Setting, out: Path, watch: Watch | None = None
) -> dict[str, float]:
    """The clean accuracy and all that the setting asks for, by the names in ``MEASURES``.

    Leaves in ``out``: ``verdicts.safetensors`` (for each measure that judges images, whether the network is still
    right on each, bool [N], and how that was computed), the shards of AutoAttack, and ``lipschitz.json``. The verdicts
    of other measures that the file holds already stay, if they are of the same weights and threat, and so do those of
    more images that were computed in the same way. ``watch`` hears what is ahead, by a
    timed batch, and of all that is done.

    Raises:
        ReconfigError: One of its subclasses, where a measure cannot be taken.
    """
    about = {"weights": verdicts.weights_digest(model), "threat": f"{setting.threat.norm} {setting.threat.eps}"}
    held, of_held = Verdicts({}, {}), about
    if (out / VERDICTS).exists():
        held, of_held = _split(*verdicts.read(out / VERDICTS))
    subjects = _subjects(machine, model, split, setting, out, watch)
    if watch is not None:
        watch.ahead(_ahead(subjects))
    found: dict[str, Finding] = {}
    for name, subject in subjects.items():
        with counted(subject.model, watch), tf32(subject.computation.precision == "tf32"):
            found[name] = MEASURES[name].compute(subject)
    if machine.main:
        out.mkdir(parents=True, exist_ok=True)
        kept = held if of_held == about else Verdicts({}, {})
        right, computed = dict(kept.right), dict(kept.computed)
        for name, how in computations(machine, setting, subjects).items():
            judged = found[name].verdicts
            if judged is not None and len(judged) >= kept.count(name, how):
                right[name], computed[name] = judged, how
        verdicts.write(out / VERDICTS, right, about | {_COMPUTED + name: how for name, how in computed.items()})
    machine.accelerator.wait_for_everyone()
    return {name: measured.value for name, measured in found.items()}


def ahead(machine: Machine, model: nn.Module, split: Split, setting: Setting, out: Path) -> list[Part]:
    """What ``scores`` would do of these, with the seconds that a timed batch takes."""
    return _ahead(_subjects(machine, model, split, setting, out, None))


def _subjects(
    machine: Machine, model: nn.Module, split: Split, setting: Setting, out: Path, watch: Watch | None
) -> dict[str, Subject]:
    """For each measure what it is taken of."""
    networks: dict[Computation, nn.Module] = {}  # so that each is compiled once
    subjects: dict[str, Subject] = {}
    for name in ("clean", *setting.evaluate.attacks):
        computation = MEASURES[name].computation(machine, setting)
        if computation not in networks:
            networks[computation] = machine.computing(model, computation, machine.floats(split[:2].images))
        subjects[name] = Subject(machine, computation, networks[computation], split, setting, out, watch)
    return subjects


def _ahead(subjects: Mapping[str, Subject]) -> list[Part]:
    """What is to be done, with the seconds that a timed batch takes."""
    rates: dict[Computation, Rates] = {}
    parts = []
    for name, subject in subjects.items():
        machine, computation = subject.machine, subject.computation
        if computation not in rates:
            with tf32(computation.precision == "tf32"):
                rates[computation] = timed(machine, subject.model, subject.split, subject.setting)
        for part, images, passes in MEASURES[name].ahead(subject):
            parts.append(Part(part, share(machine, images), passes, rates[computation]))
    return parts


def _split(right: dict[str, Tensor], about: dict[str, str]) -> tuple[Verdicts, dict[str, str]]:
    """What a file holds, and what all of it is about."""
    computed = {name.removeprefix(_COMPUTED): how for name, how in about.items() if name.startswith(_COMPUTED)}
    return Verdicts(right, computed), {name: of for name, of in about.items() if not name.startswith(_COMPUTED)}
