"""The best widths and depths of a network at a fixed cost: trials, their baselines, the few best in full, a page.

The trials' folders are all there is to know, as in a sweep. Beside what ``folder`` says, the output folder holds:
    budget.json        what was planned to fit, at the first start
    search/, random/   the trials of each arm, a folder a rule
    chosen.json        what is trained in full, and why
    full/              that training: a comparison as of sweep.py compare
    landscape.html     the page; search.json has the same for a program
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from rich.console import Console

import reconfig
from reconfig.harness import files, records
from reconfig.harness.data.dataset import Dataset, load_dataset
from reconfig.harness.data.division import divide
from reconfig.harness.data.moments import normalisation
from reconfig.harness.experiment import Setting
from reconfig.harness.jobs import cluster, ray_tasks, short_training
from reconfig.harness.jobs.job import jobs_by_seed
from reconfig.harness.jobs.network import cost, plan_network
from reconfig.harness.jobs.outcome import read_outcome
from reconfig.harness.jobs.short_training import ShortTraining, Trial
from reconfig.harness.jobs.space import Planner, Space, at_cost, published, space_of
from reconfig.harness.jobs.trials import Kind, Limits
from reconfig.harness.jobs.tuning import tune
from reconfig.harness.network import Network
from reconfig.harness.normalised import Moments
from reconfig.harness.options import SweepOptions
from reconfig.harness.randomness import derived_seed
from reconfig.harness.reports import landscape, table as printing
from reconfig.harness.reports.landscape import Chosen, Final, Landscape
from reconfig.harness.search import Search
from reconfig.harness.studies import folder, sweeping
from reconfig.harness.studies.search_budget import SearchBudget, SearchError, plan_budget
from reconfig.harness.studies.search_progress import SearchProgress
from reconfig.harness.sweep import Variants
from reconfig.harness.training.checks import check_images

_POOL = 32
"""Networks drawn at random, of which the count that is not held chooses one."""
_TITLES: Mapping[Kind, str] = {"search": "search", "random": "random search"}


@dataclass(frozen=True)
class _Ground:
    """What a search stands on."""

    search: Search
    dataset: Dataset
    moments: Moments | None
    """Of the normalisation in all networks."""
    planner: Planner
    network: Network
    plan: reconfig.Plan
    """Of the original."""
    cost: tuple[Literal["params", "flops"], int]
    """What is held, and how much of it."""
    space: Space

    @property
    def setting(self) -> Setting:
        """How networks are trained in full."""
        return Setting(**{name: getattr(self.search, name) for name in Setting.__dataclass_fields__})

    def planned(self, rule: str) -> reconfig.Plan:
        """The network of a rule at the cost."""
        return self.planner(at_cost(self.network, rule, self.cost))

    def drawn(self) -> list[tuple[str, reconfig.Plan]]:
        """Rules drawn at random, with their plans: those that can be had at the cost."""
        draws = np.random.default_rng(derived_seed("pool", self.search.seed))
        found = []
        for _ in range(_POOL):
            rule = self.space.rule({name: _draw(each, draws) for name, each in self.space.distributions().items()})
            try:
                found.append((rule, self.planned(rule)))
            except reconfig.ReconfigError:
                continue
        if not found:
            raise SearchError(f"no rule for {self.network.name} was found that keeps its {self.search.hold}")
        return found


def run(search: Search, options: SweepOptions) -> Path:
    """Search; the path of the page. All is checked before anything is written.

    Raises:
        ReconfigError: One of its subclasses, for data, networks and folders that cannot be used; a ``SearchError`` for
            minutes in which nothing fits.
    """
    out, console = options.out, printing.console()
    folder.check(out, options.resume)
    dataset = load_dataset(search.data)
    ground = _ground(search, dataset)
    config = folder.config(search, dataset, {"original": ground.network})
    folder.check_config(out, config)
    check_images(search.train, divide(dataset, search).counts(), 1)
    if options.address is not None:
        ray_tasks.import_ray()
        cluster.check(options.address)
    rules, unfit = published(ground.space, ground.network, ground.planner, ground.cost)
    pool = ground.drawn()

    _say_what(ground, rules, unfit, console)
    if not (out / "chosen.json").exists():
        _trials(ground, options, config, rules, pool, console)
        files.write_json(out / "chosen.json", {"networks": [asdict(each) for each in _choose(ground, out, pool)]})
    chosen = [Chosen(**each) for each in files.read_json(out / "chosen.json")["networks"]]
    for each in chosen[2:]:
        console.print(f"To be trained in full: {each.rule} ({each.why})", soft_wrap=True)
    full = replace(options, out=out / "full", resume=(out / "full").exists())
    sweeping.run(_comparison(ground, chosen), full)
    return _report(ground, out, chosen, rules, console)


# -- before the trials -------------------------------------------------------------------------------------------------


def _ground(search: Search, dataset: Dataset) -> _Ground:
    network = search.original
    moments = normalisation(search.data, dataset)
    planner = partial(plan_network, dataset=dataset, moments=moments)
    plan = planner(network)
    held = (search.hold, cost(plan, search.hold))
    return _Ground(search, dataset, moments, planner, network, plan, held, space_of(network, planner))


def _draw(distribution: Any, draws: np.random.Generator) -> float:
    if isinstance(distribution.low, int):
        return int(draws.integers(distribution.low, distribution.high + 1))
    return math.exp(draws.uniform(math.log(distribution.low), math.log(distribution.high)))


def _say_what(ground: _Ground, rules: Mapping[str, Any], unfit: Mapping[str, str], console: Console) -> None:
    search, (unit, number) = ground.search, ground.cost
    varied = [str(stage) for stage, varies in enumerate(ground.space.varied, 1) if varies]
    depths = f", and the blocks of stage{'s' * (len(varied) > 1)} {', '.join(varied)}" if varied else ""
    console.print(
        f"{ground.network.name} on {ground.dataset.name}: widths of {len(ground.space.widths)} stages{depths}, at"
        f" {number:,} {'parameters' if unit == 'params' else 'multiply-adds'} ({search.hold} held)",
        soft_wrap=True,
    )
    console.print(f"Published rules, which come first: {', '.join(rules)}", soft_wrap=True)
    if unfit:
        console.print(f"Those that do not fit this network: {', '.join(unfit)}", soft_wrap=True)


def _budget(ground: _Ground, options: SweepOptions, ray: Any, gpus: float, pool: Sequence[Any]) -> SearchBudget:
    """What was planned at the first start, or is now, by batches timed where trials run."""
    path = options.out / "budget.json"
    if path.exists():
        return records.read(SearchBudget, files.read_json(path, "Remove it to have it planned again"))
    task = ray.remote(num_cpus=options.cpus_per_run, num_gpus=gpus)(ray_tasks.times_of)
    try:
        times = ray.get(task.remote(ground.network, ground.setting, ground.moments, options.out, options.cpus_per_run))
    except ray.exceptions.RayError as error:
        raise SearchError(f"the original network cannot be timed: {files.reason(error)}") from error
    dearer = float(np.mean([plan.flops for _, plan in pool])) / ground.plan.flops
    held = ray.cluster_resources()
    workers = int(held["CPU"] // options.cpus_per_run)
    if gpus:
        workers = min(workers, int(held["GPU"] / gpus))
    return plan_budget(ground.search, times, dearer, max(1, workers))


# -- the trials --------------------------------------------------------------------------------------------------------


def _trials(
    ground: _Ground,
    options: SweepOptions,
    config: dict[str, Any],
    rules: Mapping[str, Mapping[str, float]],
    pool: Sequence[Any],
    console: Console,
) -> None:
    """The search, then random search at the same number of epochs."""
    out = options.out
    with ray_tasks.started(options, ground.search.compute) as (ray, gpus):
        budget = _budget(ground, options, ray, gpus, pool)
        folder.prepare(out, config, [out / kind for kind in get_args(Kind)])
        files.write_json(out / "budget.json", asdict(budget))
        console.print(f"It takes {budget}", soft_wrap=True)
        _arm(ground, options, budget, "search", budget.epochs, list(rules.values()), gpus, console)
        used = sum(len(trial.history) for trial in short_training.read_trials(out / "search"))
        _arm(ground, options, budget, "random", used, [], gpus, console)
    for kind in get_args(Kind):
        for trial in short_training.read_trials(out / kind):
            short_training.end(trial.folder)  # what ran as the last epochs were used up


def _arm(
    ground: _Ground,
    options: SweepOptions,
    budget: SearchBudget,
    kind: Kind,
    epochs: int,
    first: Sequence[Mapping[str, float]],
    gpus: float,
    console: Console,
) -> None:
    """The trials of an arm, from where an earlier part of the search left them."""
    arm, setting = options.out / kind, ground.setting
    over = arm / "over.json"
    if over.exists():
        return
    trials = short_training.read_trials(arm)
    begun = [trial.parameters for trial in trials]
    interrupted = [trial.parameters for trial in trials if not trial.ended]
    before = sum(trial.seconds for trial in trials) / budget.workers
    limits = Limits(budget.trial_epochs, epochs, budget.seconds - before)
    short = replace(setting, seeds=1, train=replace(setting.train, epochs=budget.trial_epochs))
    objective = ShortTraining(
        ground.network, ground.cost, ground.space, short, arm.resolve(), options.save_every, options.cpus_per_run
    )
    if sum(len(trial.history) for trial in trials) < epochs and limits.seconds > 0:
        with SearchProgress(console, _TITLES[kind], objective, limits) as progress:
            tune(
                objective,
                ground.space.distributions(),
                kind,
                limits,
                progress,
                options.out / "ray" / kind,
                seed=derived_seed(kind, ground.search.seed) % 2**31,
                first=[*interrupted, *(point for point in first if point not in begun)],
                known=[trial.known() for trial in trials],
                cpus=options.cpus_per_run,
                gpus=gpus,
            )
    files.write_json(over, {"epochs": sum(len(trial.history) for trial in short_training.read_trials(arm))})


# -- what comes of them ------------------------------------------------------------------------------------------------


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """The best first: of those that came furthest, by the robust accuracy after the last epoch."""
    tried = [trial for trial in trials if trial.history and not trial.error]
    return sorted(tried, key=lambda trial: (-len(trial.history), -trial.robust[-1]))


def _choose(ground: _Ground, out: Path, pool: Sequence[tuple[str, reconfig.Plan]]) -> list[Chosen]:
    """What is trained in full: the original, "10-10-4", the best of each arm, and what the other count chooses."""
    found = {kind: ranked(short_training.read_trials(out / kind)) for kind in get_args(Kind)}
    for kind, trials in found.items():
        if not trials:
            raise SearchError(f"no trial of {out / kind} ended an epoch; nothing can be chosen. Give more --minutes")
    free = "multiply-adds" if ground.search.hold == "params" else "parameters"
    most = max(pool, key=lambda pair: pair[1].flops if ground.search.hold == "params" else pair[1].params)
    wanted = [
        Chosen("10-10-10", "the original"),
        Chosen("10-10-4", "the rule of Huang et al. (2021)"),
        *(
            Chosen(trial.rule, f"number {rank} of the search", found=True)
            for rank, trial in enumerate(found["search"][: ground.search.best], 1)
        ),
    ]
    wanted.append(Chosen(found["random"][0].rule, "the best of random search"))
    wanted.append(Chosen(most[0], f"the most {free} of {len(pool)} drawn at random"))
    chosen: dict[Any, Chosen] = {}
    for each in wanted:  # of equal networks the first, with all reasons
        shape = tuple((stage.width[1], stage.blocks[1]) for stage in ground.planned(each.rule).stages)
        if (before := chosen.get(shape)) is not None:
            each = Chosen(before.rule, f"{before.why}; {each.why}", before.found or each.found)
        chosen[shape] = each
    return list(chosen.values())


def _comparison(ground: _Ground, chosen: Sequence[Chosen]) -> Variants:
    """The training in full: all at the cost of the original."""
    others = [f"{shlex.quote(ground.network.model)} {each.rule}" for each in chosen[1:]]
    setting = {name: getattr(ground.search, name) for name in Setting.__dataclass_fields__}
    return Variants(**setting, variants=(ground.search.network, *others), budget=ground.search.hold)


def _report(
    ground: _Ground, out: Path, chosen: Sequence[Chosen], rules: Mapping[str, Mapping[str, float]], console: Console
) -> Path:
    trials = {_TITLES[kind]: short_training.read_trials(out / kind) for kind in get_args(Kind)}
    names = {ground.space.rule(point): name for name, point in rules.items()}
    found = Landscape(
        ground.search, ground.network, ground.cost, ground.space, trials, names, _finals(ground, out / "full", chosen)
    )
    command = shlex.join(["python", *sys.argv])
    files.write_json(out / "search.json", landscape.as_json(found, command))
    files.write_text(out / "landscape.html", landscape.render(found, command))
    console.print()
    console.print(landscape.as_table(found).rich())
    for line in landscape.conclusions(found):
        console.print(line, soft_wrap=True)
    console.print(
        f"Page: {out / 'landscape.html'} (also search.json; the training in full is in full/)", soft_wrap=True
    )
    return out / "landscape.html"


def _finals(ground: _Ground, out: Path, chosen: Sequence[Chosen]) -> list[Final]:
    comparison = _comparison(ground, chosen)
    jobs = jobs_by_seed({each.folder: each.network for each in comparison.configurations()}, comparison, out)
    return [
        Final(
            each,
            [read_outcome(job.folder) for job in of_network],
            float(np.mean([max(row["pgd20"] for row in job.history()) for job in of_network])),
        )
        for each, of_network in zip(chosen, jobs.values(), strict=True)
    ]
