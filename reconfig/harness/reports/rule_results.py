"""What came of a comparison of rules: what each reaches at a held cost, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

import reconfig
from reconfig.harness import files
from reconfig.harness.data.dataset import Dataset
from reconfig.harness.data.division import divide
from reconfig.harness.jobs.network import cost
from reconfig.harness.measuring.measures import MEASURES
from reconfig.harness.reports import many_tests, notes, plots, results, rules_page, statistics
from reconfig.harness.reports.plots import Costed
from reconfig.harness.reports.results import Column
from reconfig.harness.reports.statistics import Difference
from reconfig.harness.reports.sweep_results import Report, Result, csv_text
from reconfig.harness.reports.table import Table
from reconfig.harness.sweep import HELD, Compare, Configuration, Held

_SHOWN: Column = ("pgd20", "best")
"""What the figure shows."""
_SIGNIFICANT = 0.05
"""Of a single test over images."""


@dataclass(frozen=True)
class Paired:
    """What a rule's networks have more than the original's, in points of %, seed by seed."""

    difference: Difference
    interval: tuple[float, float] | None
    """In which the true difference lies, with 95 %, by itself."""
    corrected: float | None
    """The p-value, by Holm for all rules."""
    detectable: float | None
    """The least true difference that so many seeds find in 80 % of studies."""
    images: tuple[Difference | None, ...]
    """Each seed's two networks, image by image."""

    def seeds(self, sign: int) -> int:
        """In how many seeds the images alone say that the rule is better (1) or worse (-1)."""
        return sum(each is not None and each.p is not None and each.p < _SIGNIFICANT and each.mean * sign > 0
                   for each in self.images)  # fmt: skip


class Entry(NamedTuple):
    """A rule at a held cost, and the network that was trained for it."""

    rule: str
    held: Held
    result: Result

    @property
    def name(self) -> str:
        """In tables."""
        return f"{self.rule}, {HELD[self.held]} held"


def report(compare: Compare, found: Sequence[Result], dataset: Dataset, command: str) -> Report:
    """All of it, of the results of the seeds that every network has finished; the original's is the first."""
    columns = results.columns([run for result in found for run in result.outcomes])
    paired = {column: pair(found, column) for column in columns if MEASURES[column[0]].unit == "%"}
    first, second = _reached(compare, found, columns, dataset), _differences(compare, found, paired)
    figure = _figure(compare, found)
    facts = _facts(compare, found, dataset, paired, command)
    written = {
        "results.csv": csv_text(list(_rows(compare, found, columns, paired))),
        "figure.svg": figure,
        "table.md": f"{first.markdown()}\n{second.markdown()}",
        "table.tex": f"{first.latex()}\n{second.latex()}",
        "result.json": files.json_text(facts),
        "report.html": rules_page.render(compare, [first, second], figure, found, facts),
    }
    return Report(written, [first, second])


def entries(compare: Compare, found: Sequence[Result]) -> list[Entry]:
    """The rules in their order, at one held cost after the other, as far as they were trained."""
    networks = {answer: result for result in found for answer in result.configuration.answers}
    asked = [(rule, held) for held in compare.held for rule in compare.rules]
    return [Entry(*answer, networks[answer]) for answer in asked if answer in networks]


def pair(found: Sequence[Result], column: Column) -> dict[Configuration, Paired]:
    """Each network against the first, seed by seed; the corrections are for all of them together."""
    first, *others = found
    before = results.values(first.outcomes, column)
    tests, gains = [], []
    for other in others:
        gains.append(np.subtract(results.values(other.outcomes, column), before).tolist())
        tests.append(results.differences((first.jobs, other.jobs), (first.outcomes, other.outcomes))[column])
    corrected = many_tests.holm([test.p for test in tests])
    return {
        other.configuration: Paired(
            difference=test,
            interval=statistics.interval(gained) if test.p is not None else None,
            corrected=p,
            detectable=many_tests.detectable(statistics.summary(gained).std, len(gained), len(others)),
            images=tuple(
                results.by_images((one, its), (two, own), column)
                for one, its, two, own in zip(first.jobs, first.outcomes, other.jobs, other.outcomes, strict=True)
            ),
        )
        for other, test, gained, p in zip(others, tests, gains, corrected, strict=True)
    }


def budgets(compare: Compare, plans: Mapping[Configuration, reconfig.Plan]) -> Table:
    """How near every rule comes to what is held: known before anything is trained."""
    original = next(iter(plans.values()))
    of_answer = {answer: (each, plan) for each, plan in plans.items() for answer in each.answers}
    rows = [["original", f"{original.params:,}", f"{original.flops:,}", "", _shape(original)]]
    for held in compare.held:
        for rule in compare.rules:
            if (rule, held) in of_answer:
                each, plan = of_answer[rule, held]
                row = [f"{rule}, {HELD[held]} held", f"{plan.params:,}", f"{plan.flops:,}", _met(plan, original, held)]
                rows.append([*row, _shape(plan) if each.answers[0] == (rule, held) and plan is not original
                             else "the original" if plan is original else f"as {_first_of(each)}"])  # fmt: skip
    return Table(["", "parameters", "multiply-adds", "held to", "stages: width x blocks"], rows, [])


# -- tables ------------------------------------------------------------------------------------------------------------


def _reached(compare: Compare, found: Sequence[Result], columns: Sequence[Column], dataset: Dataset) -> Table:
    original = found[0]
    header = ["", "parameters", "multiply-adds", "held to"]
    header += [f"{results.label(measure)} {checkpoint}" for measure, checkpoint in columns]
    shown = [(f"{original.outcomes[0].name}, the original", "", original)]
    shown += [
        (each.name, _met(each.result.plan, original.plan, each.held), each.result) for each in entries(compare, found)
    ]
    rows = [
        [name, f"{result.plan.params:,}", f"{result.plan.flops / 1e6:,.2f} M", met]
        + [str(statistics.summary(results.values(result.outcomes, column))) for column in columns]
        for name, met, result in shown
    ]
    measures = list(dict.fromkeys(measure for measure, _ in columns))
    said = _notes(compare, found, dataset) + notes.on_computing(
        [run for each in found for run in each.outcomes], measures
    )
    return Table(header, rows, said)


def _differences(
    compare: Compare, found: Sequence[Result], paired: Mapping[Column, Mapping[Configuration, Paired]]
) -> Table:
    header = ["against the original", "difference", "95 % interval", "p", "p (Holm)", "80 % power from", "images"]
    rows = []
    for (measure, checkpoint), pairs in paired.items():
        if checkpoint != _SHOWN[1]:
            continue  # result.json has it
        for each in entries(compare, found):
            name = f"{results.label(measure)} {checkpoint}: {each.name}"
            known = pairs.get(each.result.configuration)
            rows.append([name, *(_cells(known) if known is not None else ["is the original", *[""] * 5])])
    tests, seeds = max(len(found) - 1, 1), len(found[0].outcomes)
    tested = (
        f"between seeds ({seeds}) by the paired t-test"
        if seeds > 1
        else "one seed: McNemar's test is of these two trained networks alone, and says nothing of the rule"
    )
    said = [
        f"difference: the rule's networks minus the original's, in points of %; {tested}.",
        f"p (Holm): corrected for the {tests} networks compared with the original in one measure (Holm, 1979).",
        "80 % power from: the least true difference that so many seeds find in 80 % of studies, by the noncentral t"
        f" distribution (Cohen, 1988, chapter 2) at {many_tests.ALPHA:g} / {tests}, Holm's strictest step. A smaller"
        " one may be there and not be seen.",
        "images: seeds whose two networks differ image by image for the better / for the worse by McNemar's exact test"
        f" (p < {_SIGNIFICANT:g}, not corrected).",
    ]
    return Table(header, rows, said)


def _cells(known: Paired) -> list[str]:
    low_high = "" if known.interval is None else f"{known.interval[0]:+.2f} to {known.interval[1]:+.2f}"
    p, corrected = (("" if value is None else f"{value:.2g}") for value in (known.difference.p, known.corrected))
    least = "" if known.detectable is None else f"{known.detectable:.2f}"
    judged = sum(each is not None for each in known.images)
    seen = f"{known.seeds(1)} / {known.seeds(-1)} of {judged}" if judged else ""
    return [f"{known.difference.mean:+.2f}", low_high, p, corrected, least, seen]


def _notes(compare: Compare, found: Sequence[Result], dataset: Dataset) -> list[str]:
    counts = divide(dataset, compare).counts()
    seeds = results.seeds_text([run.seed for run in found[0].outcomes])
    threat, train = compare.threat, compare.train
    return [
        f"Accuracy in % on {counts['test']:,} test images of {dataset.name}; {threat.norm} eps {threat.eps}.",
        f"Trained with {train.method}, {train.epochs} epochs, {results.training_images(counts)}, {seeds}.",
        f"last: after the last epoch; best: the epoch of best PGD-20 accuracy on {results.selection(compare, counts)}.",
        *_fewer(found[0], counts["test"]),
    ]


def _fewer(original: Result, test: int) -> Iterator[str]:
    """Measures that were taken on a part of the test images."""
    judged = {
        column: difference.images
        for column, difference in results.differences(
            (original.jobs, original.jobs), (original.outcomes, original.outcomes)
        ).items()
    }
    for measure in dict.fromkeys(measure for measure, _ in judged):
        counts = judged[measure, "best"]
        if counts and counts != (test,):
            yield f"{results.label(measure)}: on the first {counts[0]:,} test images."


def _met(plan: reconfig.Plan, original: reconfig.Plan, held: Held) -> str:
    return f"{cost(plan, held) / cost(original, held) - 1:+.2%}"


def _shape(plan: reconfig.Plan) -> str:
    return " ".join(f"{stage.width[1]}" + (f"x{stage.blocks[1]}" if stage.blocks[1] else "") for stage in plan.stages)


def _first_of(configuration: Configuration) -> str:
    rule, held = configuration.answers[0]
    return f"{rule}, {HELD[held]} held"


# -- the same for programs, and as a figure ----------------------------------------------------------------------------


def _rows(
    compare: Compare,
    found: Sequence[Result],
    columns: Sequence[Column],
    paired: Mapping[Column, Mapping[Configuration, Paired]],
) -> Iterator[dict[str, Any]]:
    original = found[0]
    for rule, held, result in [("", "", original), *entries(compare, found)]:
        row: dict[str, Any] = {
            "rule": rule,
            "held": held,
            "network": result.configuration.network.model,
            "trained": result.configuration.folder,
            "gamma": result.plan.gamma,
            "params": result.plan.params,
            "flops": result.plan.flops,
            "seeds": len(result.outcomes),
        }
        for column in columns:
            name, values = "_".join(column), results.values(result.outcomes, column)
            summary, low_high = statistics.summary(values), statistics.interval(values) or (None, None)
            row |= {f"{name}_mean": summary.mean, f"{name}_std": summary.std}
            row |= {f"{name}_low": low_high[0], f"{name}_high": low_high[1]}
            known = paired.get(column, {}).get(result.configuration)
            row |= {f"{name}_{field}": value for field, value in _figures(known).items()}
        yield row


def _figures(known: Paired | None) -> dict[str, Any]:
    if known is None:
        return dict.fromkeys(("difference", "difference_low", "difference_high", "p", "p_holm", "detectable"))
    low, high = known.interval or (None, None)
    return {
        "difference": known.difference.mean,
        "difference_low": low,
        "difference_high": high,
        "p": known.difference.p,
        "p_holm": known.corrected,
        "detectable": known.detectable,
    }


def _facts(
    compare: Compare,
    found: Sequence[Result],
    dataset: Dataset,
    paired: Mapping[Column, Mapping[Configuration, Paired]],
    command: str,
) -> dict[str, Any]:
    return {
        "command": command,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {"name": dataset.name, "fingerprint": dataset.fingerprint(), "classes": dataset.classes}
        | divide(dataset, compare).counts(),
        "comparison": asdict(compare),
        "rules": [
            {"rule": rule, "held": held, "network": result.configuration.folder}
            for rule, held, result in entries(compare, found)
        ],
        "networks": {result.configuration.folder: [asdict(run) for run in result.outcomes] for result in found},
        "differences": {
            "_".join(column): {configuration.folder: asdict(known) for configuration, known in pairs.items()}
            for column, pairs in paired.items()
        },
        "versions": results.versions(),
    }


def _figure(compare: Compare, found: Sequence[Result]) -> str:
    original = found[0]
    points = [_point("original", None, original)]
    points += [_point(rule, held, result) for rule, held, result in entries(compare, found) if result is not original]
    return plots.costs(points, f"{compare.title}: {original.outcomes[0].name}")


def _point(rule: str, held: Held | None, result: Result) -> Costed:
    values = results.values(result.outcomes, _SHOWN)
    mean = statistics.summary(values).mean
    return Costed(rule, held, result.plan.params, result.plan.flops, mean, statistics.interval(values) or (mean, mean))
