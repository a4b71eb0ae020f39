"""The page of a comparison of rules; like that of a run it needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reconfig.harness.reports import plots
from reconfig.harness.reports.page import TEMPLATES, environment, stages
from reconfig.harness.reports.results import selection
from reconfig.harness.reports.sweep_results import Result
from reconfig.harness.reports.table import Table
from reconfig.harness.sweep import Compare


def render(
    compare: Compare, tables: Sequence[Table], figure: str, found: Sequence[Result], facts: Mapping[str, Any]
) -> str:
    """The page, from the tables and the figure, what the jobs left in their folders, and what result.json has."""
    names = {result.configuration.folder: result.configuration.name for result in found}
    histories = {result.configuration.name: [job.history() for job in result.jobs] for result in found}
    return TEMPLATES.get_template("rules_page.html.j2").render(
        title=f"Rules for {found[0].outcomes[0].name}",
        tables=[table.for_screen() for table in tables],
        figure=Markup(figure),
        curves=Markup(plots.curves(histories)),
        stages=stages({result.configuration.folder: result.plan for result in found}),
        names=names,
        colours={},
        selection=selection(compare, facts["data"]),
        environment=environment(facts),
        command=facts["command"],
        config=json.dumps(facts["comparison"], indent=2, default=str, ensure_ascii=False),
    )
