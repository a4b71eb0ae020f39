"""What came of a search: widths and depths against robust accuracy, the few best in full, and what can be concluded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reconfig.harness.jobs.outcome import Outcome
from reconfig.harness.jobs.short_training import Trial
from reconfig.harness.jobs.space import Space
from reconfig.harness.network import Network
from reconfig.harness.reports import landscape_plot, results, statistics
from reconfig.harness.reports.landscape_plot import Tried
from reconfig.harness.reports.rank_correlation import Tau, tau
from reconfig.harness.reports.table import Table
from reconfig.harness.search import Search

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip
_ROBUST = ("pgd20", "best")
_RANKED = 5
"""Trials that have to have come equally far before counts are compared with their accuracy."""


@dataclass(frozen=True)
class Chosen:
    """A network that is trained in full."""

    rule: str
    why: str
    found: bool = False
    """Whether the search found it."""


@dataclass(frozen=True)
class Final:
    """The same, once trained."""

    chosen: Chosen
    outcomes: Sequence[Outcome]
    """One a seed."""
    held_out: float
    """Robust accuracy in % on the held-out images at the best epoch, the mean over seeds."""

    @property
    def robust(self) -> statistics.Summary:
        """The same on the test images, which chose nothing."""
        return statistics.summary(results.values(self.outcomes, _ROBUST))


@dataclass(frozen=True)
class Landscape:
    """All of a search."""

    search: Search
    network: Network
    cost: tuple[str, int]
    """What was held, and how much of it."""
    space: Space
    trials: Mapping[str, Sequence[Trial]]
    """By the arm that they belong to, as people call it."""
    names: Mapping[str, str]
    """Published rules as trials have them, by what they are called."""
    finals: Sequence[Final]

    @property
    def found(self) -> Final:
        """The best that the search found: of those trained in full, by the held-out images."""
        return max((final for final in self.finals if final.chosen.found), key=lambda final: final.held_out)

    def call(self) -> str:
        """How to have it."""
        unit, number = self.cost
        own = self.network.gamma == 1
        budget = f'"{unit}"' if own else f'("{unit}", {number})'
        return f'reconfig.apply(model, "{self.found.chosen.rule}", budget={budget})'

    def counts(self) -> dict[str, Tau]:
        """Kendall's tau of both counts with the robust accuracy of trials, where those have come equally far."""
        every = {trial.rule: trial for trials in self.trials.values() for trial in trials if not trial.error}
        lengths = sorted({len(trial.robust) for trial in every.values()}, reverse=True)
        far: list[Trial] = []
        for epochs in lengths:
            far = [trial for trial in every.values() if len(trial.robust) >= epochs > 0]
            if len(far) >= _RANKED:
                break
        if len(far) < _RANKED:
            return {}
        epochs = min(len(trial.robust) for trial in far)
        robust = [trial.robust[epochs - 1] for trial in far]
        counts = {"parameters": [trial.params for trial in far], "multiply-adds": [trial.flops for trial in far]}
        return {f"{name} ({len(far)} trials after {epochs} epochs)": tau(each, robust) for name, each in counts.items()}


def as_table(found: Landscape) -> Table:
    """The networks trained in full."""
    rows = []
    for final in found.finals:
        run, clean = final.outcomes[0], statistics.summary(results.values(final.outcomes, ("clean", "best")))
        rows.append(
            [final.chosen.rule, final.chosen.why, f"{run.params:,}", f"{run.flops / 1e6:,.2f} M",
             f"{final.held_out:.2f}", str(final.robust), str(clean)]
        )  # fmt: skip
    search = found.search
    seeds = results.seeds_text(range(search.seed, search.seed + search.seeds))
    notes = [
        f"Accuracy in %, best checkpoint; {search.threat.norm} eps {search.threat.eps}; {search.train.method},"
        f" {search.train.epochs} epochs, {seeds}. All have the original's {found.cost[0]}.",
        "The search, and the choice of its best, saw held-out training images alone; the test images chose nothing.",
    ]
    return Table(
        ["rule", "chosen as", "parameters", "multiply-adds", "PGD-20 held out", "PGD-20 test", "clean test"],
        rows,
        notes,
    )


def conclusions(found: Landscape) -> list[str]:
    """What to tell the user."""
    best = found.found
    lines = [
        f"Found: {found.call()}",
        f"Its robust accuracy (PGD-20, test): {best.robust} %; "
        + "; ".join(f"{final.chosen.why} {final.robust} %" for final in found.finals if final is not best),
    ]
    ahead = max(found.finals, key=lambda final: final.held_out)
    if ahead.held_out > best.held_out:
        lines.append(
            f"On the held-out images {ahead.chosen.rule} ({ahead.chosen.why}) is ahead, {ahead.held_out:.2f} % to"
            f" {best.held_out:.2f} %: the search found nothing better"
        )
    spent = {arm: sum(len(trial.history) for trial in trials) for arm, trials in found.trials.items()}
    lines.append(
        "Trials: "
        + "; ".join(
            f"{arm} {len(found.trials[arm])} in {epochs} epochs, best {_top(found.trials[arm])}"
            for arm, epochs in spent.items()
        )
    )
    lines += [f"Kendall's tau with robust accuracy, {name}: {each}" for name, each in found.counts().items()]
    return lines


def _top(trials: Sequence[Trial]) -> str:
    most = max((len(trial.robust) for trial in trials), default=0)
    robust = [trial.robust[-1] for trial in trials if most and len(trial.robust) == most]
    return f"{max(robust):.1f} % held out after {most}" if robust else "none"


def as_json(found: Landscape, command: str) -> dict[str, Any]:
    """What a program needs to know."""
    return {
        "command": command,
        "found": {"rule": found.found.chosen.rule, "budget": list(found.cost), "call": found.call()},
        "finals": [
            asdict(final.chosen) | {"held_out": final.held_out, "outcomes": [asdict(run) for run in final.outcomes]}
            for final in found.finals
        ],
        "trials": {
            arm: [
                {
                    "rule": trial.rule,
                    "published": found.names.get(trial.rule),
                    "parameters": trial.parameters,
                    "params": trial.params,
                    "flops": trial.flops,
                    "robust": trial.robust,
                    "error": trial.error,
                }
                for trial in trials
            ]
            for arm, trials in found.trials.items()
        },
        "counts": {name: asdict(each) for name, each in found.counts().items()},
        "versions": results.versions(),
    }


def render(found: Landscape, command: str) -> str:
    """The page."""
    rows = [
        (arm, trial, found.names.get(trial.rule, ""))
        for arm, trials in found.trials.items()
        for trial in sorted(trials, key=lambda trial: (-len(trial.robust), -max(trial.robust[-1:], default=0.0)))
    ]
    return _TEMPLATES.get_template("landscape.html.j2").render(
        title=f"Shapes of {found.network.name} at its own {found.cost[0]}",
        table=as_table(found).for_screen(),
        conclusions=conclusions(found),
        figure=Markup(landscape_plot.landscape(_tried(found), _axes(found.space))),
        rows=rows,
        command=command,
        versions=results.versions(),
    )


def _axes(space: Space) -> dict[str, str]:
    """The panels: each parameter, and the two counts."""
    widths = {f"w{stage}": f"width of stage {stage} to stage 1" for stage in range(2, len(space.widths) + 1)}
    depths = {f"d{stage}": f"blocks in stage {stage}" for stage, varies in enumerate(space.varied, 1) if varies}
    return widths | depths | {"params": "parameters (millions)", "flops": "multiply-adds (millions)"}


def _tried(found: Landscape) -> list[Tried]:
    longest = max((len(trial.robust) for trials in found.trials.values() for trial in trials), default=1)
    return [
        Tried(
            arm,
            found.names.get(trial.rule, ""),
            {**trial.parameters, "params": trial.params / 1e6, "flops": trial.flops / 1e6},
            trial.robust[-1],
            len(trial.robust) / longest,
        )
        for arm, trials in found.trials.items()
        for trial in trials
        if trial.history and not trial.error
    ]
