"""The summary of a table of depths as markdown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from benchmarks.judging.depth import REFUSED, RIGHT, DepthRow
from benchmarks.judging.markdown import markdown


def depth_summary(rows: Sequence[DepthRow]) -> str:
    """The totals, what was refused by its reason, and what is wrong by its name."""
    pairs = [row for row in rows if row.stage]
    models = len({(row.source, row.name) for row in rows})
    with_pairs = len({(row.source, row.name) for row in pairs})
    verdicts = Counter(row.verdict for row in pairs)
    honest = verdicts[RIGHT] + verdicts["refused"]
    lines = [
        f"One block less and one more in each stage of repeated blocks: {len(pairs)} stages of {with_pairs} models "
        f"({models - with_pairs} have none), {verdicts[RIGHT]} right ({_share(verdicts[RIGHT], len(pairs))}), "
        f"{honest} right or refused with a reason ({_share(honest, len(pairs))}).",
        "",
    ]
    header = ["", "models", "stages", "right", "refused", "wrong", "a block less is right", "a block more is right"]
    kinds = sorted({row.kind for row in rows})
    parts = [(kind, [row for row in rows if row.kind == kind]) for kind in kinds]
    families = sorted({(row.source, row.family) for row in rows})
    for name, groups in (
        ("", [*parts, ("all", list(rows))]),
        ("family", [(f"{s} {f}", [row for row in rows if (row.source, row.family) == (s, f)]) for s, f in families]),
    ):
        lines += [markdown([name, *header[1:]], [[group, *_figures(part)] for group, part in groups]), ""]
    reasons = Counter(
        re.sub(r" \(.*?\)", "", re.sub(r"\d+|, which .*? (?=do(es)? not)", "_", said.removeprefix(REFUSED)))
        for row in pairs
        for said in (row.dropped, row.added)
        if said.startswith(REFUSED)
    )
    wrong = [(row.name, f"{row.stage}", note) for row in rows if row.verdict == "wrong" for note in row.notes()]
    for title, columns, table in (
        ("Why changes are refused:", ["reason", "changes"], [[reason, str(n)] for reason, n in reasons.most_common()]),
        ("Wrong:", ["model", "stage", "what"], wrong),
    ):
        if table:
            lines += [title, "", markdown(columns, table), ""]
    return "\n".join(lines)


def _figures(rows: Sequence[DepthRow]) -> list[str]:
    pairs = [row for row in rows if row.stage]
    verdicts = Counter(row.verdict for row in pairs)
    figures = [len({(row.source, row.name) for row in rows}), len(pairs)]
    figures += [verdicts[verdict] for verdict in (RIGHT, "refused", "wrong")]
    figures += [sum(row.dropped == RIGHT for row in pairs), sum(row.added == RIGHT for row in pairs)]
    return [str(figure) for figure in figures]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none"
