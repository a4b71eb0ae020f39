"""How well proxies order trained networks by their robust accuracy, beside the two counts that cost nothing at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

import reconfig
from reconfig.harness import checkpoints, files
from reconfig.harness.data.dataset import Dataset
from reconfig.harness.data.division import divide
from reconfig.harness.experiment import Setting
from reconfig.harness.jobs import short_training
from reconfig.harness.jobs.network import build_network
from reconfig.harness.jobs.outcome import read_outcome
from reconfig.harness.jobs.short_training import Trial
from reconfig.harness.machine import machine
from reconfig.harness.machine.machine import Machine
from reconfig.harness.network import Network
from reconfig.harness.options import ProxyOptions
from reconfig.harness.proxies.table import PROXIES
from reconfig.harness.reports import table as printing
from reconfig.harness.reports.rank_correlation import Tau, beats, tau
from reconfig.harness.reports.table import Table
from reconfig.harness.studies import folder

COUNTS = {"params": "parameters", "flops": "multiply-adds"}
_TRIALS = 8
"""Trials that have to have come equally far."""
_LEAST = 4
"""Networks below which an order says nothing."""
RESULT = "proxies.json"


class RankingError(reconfig.ReconfigError):
    """A folder whose networks cannot be ranked."""


@dataclass(frozen=True)
class Trained:
    """A network that was trained and judged."""

    folder: Path
    """With its plan.json."""
    name: str
    seed: int
    robust: float
    params: int
    flops: int


def run(options: ProxyOptions) -> Path:
    """Rank the networks in the folder; the path of what was found, which is printed too.

    Raises:
        ReconfigError: One of its subclasses, for a folder that holds too few networks, or other images than theirs.
    """
    found = networks(options.path, options.measure)
    names = {each.name for each in found}
    if len(names) < _LEAST:
        raise RankingError(
            f"{options.path} holds {len(names)} finished networks ({', '.join(sorted(names)) or 'none'}); ranking needs"
            f" at least {_LEAST}, as a sweep, a comparison or a search leaves them"
        )
    setting, dataset = folder.reopen(found[0].folder / "plan.json", options.data)
    computer = machine.start(options.compute, None, options.path)
    console = printing.console(quiet=not computer.main)
    values = []
    for number, each in enumerate(found, 1):
        values.append(_judged(computer, each, dataset, setting, options.batch))
        console.print(f"{number}/{len(found)}  {each.name}, seed {each.seed}", soft_wrap=True)
    figures = _by_network(found, values)
    robust = figures.pop("robust")
    taus = {name: tau(figures[name], robust) for name in figures}
    better = {name: all(beats(figures[name], figures[count], robust) for count in COUNTS) for name in PROXIES}
    table = _as_table(taus, better, options)
    rows = [{"name": name, "robust": robust[row]} for row, name in enumerate(sorted(names))]
    for row, of_network in enumerate(rows):
        of_network |= {name: values[row] for name, values in figures.items()}
    files.write_json(
        options.path / RESULT,
        {
            "measure": options.measure,
            "networks": rows,
            "tau": {name: asdict(each) for name, each in taus.items()},
            "beats_both_counts": better,
        },
    )
    console.print(table.rich())
    console.print(f"Figures: {options.path / RESULT}", soft_wrap=True)
    return options.path / RESULT


def networks(path: Path, measure: str) -> list[Trained]:
    """The finished networks under ``path``: of a sweep, a comparison or a run; of a search, its trials.

    Trials count where at least so many came equally far.

    Raises:
        RankingError: If a network has not been measured so.
        CheckpointError: If a file is damaged.
    """
    if (path / "budget.json").exists():
        trials = [trial for arm in ("search", "random") for trial in short_training.read_trials(path / arm)]
        return _trials([trial for trial in trials if trial.history and not trial.error])
    found = []
    for file in sorted(path.rglob("outcome.json")):
        outcome = read_outcome(file.parent)
        if measure not in outcome.scores["best"]:
            raise RankingError(
                f"{file.parent} was not measured by {measure}, but by {', '.join(outcome.scores['best'])}; give one of"
                " these with --measure, or measure it: benchmarks/attack.py"
            )
        robust = outcome.scores["best"][measure]
        found.append(Trained(file.parent, file.parent.name, outcome.seed, robust, outcome.params, outcome.flops))
    return found


def _trials(trials: Sequence[Trial]) -> list[Trained]:
    """The trials that came furthest, if they are enough to be ranked; else those that came nearly as far."""
    for epochs in sorted({len(trial.history) for trial in trials}, reverse=True):
        far = [trial for trial in trials if len(trial.history) >= epochs]
        if len({trial.rule for trial in far}) >= _TRIALS:
            return [
                Trained(each.folder, each.rule, 0, each.robust[epochs - 1], each.params, each.flops) for each in far
            ]
    return []


def _judged(computer: Machine, each: Trained, dataset: Dataset, setting: Setting, batch: int) -> dict[str, float]:
    """The proxies of a network as it was before its training, on its first training images."""
    of_seed = replace(setting, seed=each.seed)
    images = divide(dataset, of_seed).train[:batch].to(computer.device)
    plan = reconfig.Plan.from_json((each.folder / "plan.json").read_text(encoding="utf-8"))
    network = Network(_model(each.folder), rule=plan.rule)
    moments = checkpoints.read_moments(each.folder / "plan.json")
    model = computer.set_up(build_network(network, plan, dataset.classes, each.seed, moments))
    pixels = computer.floats(images.images)
    return {name: proxy.compute(model, pixels, images.labels, setting.threat) for name, proxy in PROXIES.items()}


def _model(folder: Path) -> str:
    """The name of the network that was trained in ``folder``; of a search all trials are of one."""
    config = checkpoints.read_config(folder / "plan.json")
    if "hold" in config:  # a search's
        return config["original"]["model"]
    return checkpoints.read_model(folder / "plan.json")


def _by_network(found: Sequence[Trained], values: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Each figure, a value a network by its name: the mean over seeds."""
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for each, of_proxies in zip(found, values, strict=True):
        counts = {"robust": each.robust, "params": float(each.params), "flops": float(each.flops)}
        rows[each.name].append(counts | of_proxies)
    figures = ["robust", *COUNTS, *PROXIES]
    return {key: [float(np.mean([row[key] for row in rows[name]])) for name in sorted(rows)] for key in figures}


def _as_table(taus: dict[str, Tau], better: dict[str, bool], options: ProxyOptions) -> Table:
    labels = COUNTS | {name: proxy.label for name, proxy in PROXIES.items()}
    rows = [
        [labels[name], str(each), {True: "yes", False: "no"}[better[name]] if name in better else ""]
        for name, each in taus.items()
    ]
    count = next(iter(taus.values())).count
    notes = [
        f"Kendall's tau-b with the robust accuracy ({options.measure}) of {count} networks in {options.path}, with the"
        " 95 % interval of its bootstrap over networks; proxies at the networks' first weights, on"
        f" {options.batch} training images.",
        "beats both counts: each in 97.5 % of the draws or more. What does not is no better than counting.",
        *(f"{proxy.label}: {proxy.source}." for proxy in PROXIES.values()),
    ]
    return Table(["figure", "Kendall's tau", "beats both counts"], rows, notes)
