"""The summary of a table as markdown."""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter
from collections.abc import Sequence

from benchmarks.judging.markdown import markdown
from benchmarks.judging.row import GOES_ON, RULE, Row, differs

_FAR_OFF = 0.005  # of a budget


def summary(rows: Sequence[Row]) -> str:
    """The tables as markdown."""
    right = sum(row.right for row in rows)
    lines = [f'"{RULE}", γ={rows[0].gamma:g}, on {len(rows)} models: {right} right ({right / len(rows):.1%}).', ""]
    kinds = [(kind, [row for row in rows if row.kind == kind]) for kind in ("cnn", "hybrid")]
    header = ["", "models", "right", "stages agree", "FLOPs equal fvcore's", "widths frozen", "plan (s)", "apply (s)"]
    table = [[kind, *_figures(part)] for kind, part in (*kinds, ("all", list(rows))) if part]
    lines += [markdown(header, table), ""]
    judged = sum(row.seconds for row in rows) / len(rows)
    lines += [f"Times are medians; the slowest: {_slowest(rows)}. Judging took {judged:.1f} s a model.", ""]
    if any(row.peer_right for row in rows):
        lines += [_side_by_side(rows), ""]
    if rows[0].gamma == 1:
        lines += [_budgets([row for row in rows if row.kind == "cnn" and row.params_before]), ""]
    lines += [_exemptions(rows), ""]
    families = sorted({(row.source, row.family) for row in rows})
    table = [
        [f"{source} {family}", *_figures([row for row in rows if (row.source, row.family) == (source, family)])]
        for source, family in families
    ]
    lines += [markdown(["family", *header[1:]], table), ""]
    reasons: Counter[str] = Counter()
    for row in rows:
        for reason, count in json.loads(row.reasons or "{}").items():
            reasons[re.sub(r" \(in .*?\)", "", reason)] += count
    if reasons:
        lines += [
            "Why widths stay:",
            "",
            markdown(["reason", "width groups"], [[r, str(n)] for r, n in reasons.most_common()]),
            "",
        ]
    exempt = sorted((row for row in rows if row.exempt), key=lambda row: -row.exempt_share)
    off = [row for row in rows if row.kind == "cnn" and abs(row.params_miss) > _FAR_OFF]
    for title, notes in (
        ("Not right", [(row.name, row.problems) for row in rows if not row.right]),
        ("Stages that differ from feature_info", [(row.name, row.oracle) for row in rows if differs(row)]),
        (
            "Stages that go on behind the module of feature_info",
            [(row.name, row.oracle.removeprefix(GOES_ON)) for row in rows if row.oracle.startswith(GOES_ON)],
        ),
        (
            f"CNNs that miss a budget of parameters by more than {_FAR_OFF:.1%}",
            [(r.name, f"{r.params_miss:+.2%}") for r in off],
        ),
        (
            "What is exempt, by model (convolutions by kind of reason, share of weights)",
            [(r.name, _exempt(r)) for r in exempt],
        ),
    ):
        if notes:
            lines += [f"{title}:", "", markdown(["model", "what"], [list(note) for note in notes]), ""]
    return "\n".join(lines)


def _figures(rows: Sequence[Row]) -> list[str]:
    with_oracle = [row for row in rows if row.oracle]
    groups = sum(row.groups for row in rows)
    counted = [row for row in rows if row.fvcore_flops]
    return [
        str(len(rows)),
        str(sum(row.right for row in rows)),
        f"{sum(not differs(row) for row in with_oracle)} of {len(with_oracle)}" if with_oracle else "",
        f"{sum(row.fvcore_flops == 'equal' for row in counted)} of {len(counted)}" if counted else "",
        f"{sum(row.frozen for row in rows)} of {groups}"
        + (f" ({sum(r.frozen for r in rows) / groups:.1%})" if groups else ""),
        f"{statistics.median(row.plan_seconds for row in rows):.2f}",
        f"{statistics.median(row.apply_seconds for row in rows):.2f}",
    ]


def _slowest(rows: Sequence[Row]) -> str:
    slowest = sorted(rows, key=lambda row: row.apply_seconds)[-3:]
    return ", ".join(f"{row.name} {row.apply_seconds:.1f} s" for row in reversed(slowest))


def _budgets(rows: Sequence[Row]) -> str:
    def say(name: str) -> str:
        misses = sorted((abs(getattr(row, name)), row.name) for row in rows)
        worst = ", ".join(f"{model} {miss:.2%}" for miss, model in reversed(misses[-3:]))
        return f"median miss {statistics.median(miss for miss, _ in misses):.4%}, worst {worst}"

    if not rows:
        return ""
    return f"Same parameters as the original, {len(rows)} CNNs: {say('params_miss')}. " + (
        f"Same FLOPs: {say('flops_miss')}."
    )


def _exemptions(rows: Sequence[Row]) -> str:
    """How much was not held to the rule, because a plan lists it as frozen."""
    said = []
    for kind in ("cnn", "hybrid"):
        part = [row for row in rows if row.kind == kind and row.convolutions]
        kinds = sum((Counter(json.loads(row.exempt or "{}")) for row in part), Counter[str]())
        if part:
            total, most = sum(row.convolutions for row in part), max(part, key=lambda row: row.exempt_share)
            by_kind = ", ".join(f"{name} {count}" for name, count in kinds.most_common())
            said.append(
                f"of the {total} convolutions of {kind}s {kinds.total()} ({kinds.total() / total:.1%})"
                + (f" ({by_kind}; most of the weights in {most.name}, {most.exempt_share:.0%})" if kinds else "")
            )
    return (
        f"Not held to the rule, since a plan that asks every stage to change lists them as frozen: {'; '.join(said)}."
    )


def _exempt(row: Row) -> str:
    kinds = ", ".join(f"{name} {count}" for name, count in json.loads(row.exempt).items())
    return f"{kinds} of {row.convolutions}, {row.exempt_share:.1%}"


def _side_by_side(rows: Sequence[Row]) -> str:
    both = [row for row in rows if row.right and row.peer_right == "yes"]
    right = sum(row.peer_right == "yes" for row in rows)
    text = f"torch-pruning, halving every layer, is right on {right} of {len(rows)}."
    if both:
        plan, apply, peer = (
            statistics.median(getattr(row, name) for row in both)
            for name in ("plan_seconds", "apply_seconds", "peer_seconds")
        )
        text += (
            f" On the {len(both)} that both get right its median is {peer:.2f} s; "
            f"plan takes {plan / peer:.2f} of that, apply {apply / peer:.2f}."
        )
    return text
