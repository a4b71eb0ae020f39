"""The report of a run as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image
from torch import Tensor

import reconfig
from reconfig.harness.experiment import Experiment
from reconfig.harness.jobs.job import Job
from reconfig.harness.jobs.outcome import Outcome
from reconfig.harness.measuring import examples
from reconfig.harness.measuring.examples import Examples
from reconfig.harness.reports import plots
from reconfig.harness.reports.results import selection
from reconfig.harness.reports.table import Table

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip
# A minus is as wide as a plus, and a mean stays on a line with its deviation; the hyphens of a rule are hyphens.
TEMPLATES.filters["number"] = lambda cell: re.sub(r"^-(?=\d)", "−", cell).replace(" ± ", "\u00a0±\u00a0")


class _Example(NamedTuple):
    """One image under attack; the pictures are data: URLs."""

    label: int
    clean: str
    noise: str
    adversarial: str
    answer: int
    fooled: int


def render(
    experiment: Experiment,
    table: Table,
    plans: Mapping[str, reconfig.Plan],
    jobs: Mapping[str, Sequence[Job]],
    outcomes: Mapping[str, Sequence[Outcome]],
    result: Mapping[str, Any],
) -> str:
    """The page, from what the jobs have left in their folders and from ``results.result``."""
    names = _names(outcomes)
    histories = {names[role]: [job.history() for job in runs] for role, runs in jobs.items()}
    eps = float(experiment.threat.eps)
    shown = {names[role]: _examples(examples.load(runs[0].folder / examples.NAME), eps) for role, runs in jobs.items()}
    drawn = {names[role]: Markup(plan.svg()) for role, plan in plans.items() if _changes(plan)}
    return TEMPLATES.get_template("page.html.j2").render(
        title=" against ".join(reversed(names.values())),
        table=table.for_screen(),
        curves=Markup(plots.curves(histories)),
        stages=stages(plans),
        names=names,
        drawings=drawn,
        examples=shown,
        colours=dict(zip(names.values(), plots.COLOURS, strict=False)),
        magnified=round(0.5 / eps),
        threat=f"{experiment.threat.norm} ε = {experiment.threat.eps}",
        selection=selection(experiment, result["data"]),
        environment=environment(result),
        command=result["command"],
        config=json.dumps(result["experiment"], indent=2, default=str, ensure_ascii=False),
    )


def _names(outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, str]:
    """The networks' names, with their roles where one network stands in both."""
    names = {role: runs[0].name for role, runs in outcomes.items()}
    same = len(set(names.values())) < len(names)
    return {role: f"{name} ({role})" if same else name for role, name in names.items()}


def _changes(plan: reconfig.Plan) -> bool:
    return any(stage.width[0] != stage.width[1] or stage.blocks[0] != stage.blocks[1] for stage in plan.stages)


def stages(plans: Mapping[str, reconfig.Plan]) -> list[tuple[str, list[str]]]:
    """For each stage its resolution, and what each network has in it; networks may differ in their number of stages."""
    most = max(plans.values(), key=lambda plan: len(plan.stages))
    rows = []
    for number, stage in enumerate(most.stages):
        size = "×".join(map(str, stage.resolution))
        held = [plan.stages[number] if number < len(plan.stages) else None for plan in plans.values()]
        rows.append((f"{stage.index} ({size})", [_stage(each) for each in held]))
    return rows


def _stage(stage: Any) -> str:
    if stage is None:
        return "–"
    blocks = f", {stage.blocks[1]} blocks" if stage.blocks[1] else ""
    return f"width {stage.width[1]:,}{blocks}, {stage.params[1]:,} parameters"


def _examples(held: Examples, eps: float) -> list[_Example]:
    noise = 0.5 + (held.adversarial - held.clean) * 0.5 / eps  # grey: unchanged; full range: ± eps
    return [
        _Example(
            label=int(held.labels[row]),
            clean=_url(held.clean[row]),
            noise=_url(noise[row]),
            adversarial=_url(held.adversarial[row]),
            answer=int(held.clean_answers[row]),
            fooled=int(held.adversarial_answers[row]),
        )
        for row in range(len(held.labels))
    ]


def _url(image: Tensor) -> str:
    """An image [C, H, W] in [0, 1] as a data: URL of a PNG."""
    pixels = image.clamp(0, 1).mul(255).round().byte()
    pixels = pixels.expand(3, -1, -1) if len(pixels) == 1 else pixels[:3]
    buffer = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def environment(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """When, on which images and where the figures were made, from what result.json has."""
    data = result["data"]
    machine = {name: value for name, value in result.get("hardware", {}).items() if value is not None}
    return [
        ("finished", result["finished"]),
        ("images", f"{data['name']}, {data['classes']} classes, fingerprint {data['fingerprint']}"),
        *((name, str(value)) for name, value in (machine | result["versions"]).items()),
    ]
