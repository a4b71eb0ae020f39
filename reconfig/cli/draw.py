"""``reconfig draw MODEL RULE``: a network before and after, as a picture or in the terminal."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from reconfig.cli.options import Json, Model, Planning, RuleOrPlan
from reconfig.cli.printing import check_can_write, print_json, write

if TYPE_CHECKING:
    from reconfig.picture.chart import Chart


@dataclass(frozen=True)
class Draw:
    """Draw a network before and after, stage by stage or layer by layer."""

    model: Model
    rule: RuleOrPlan
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="FILE.svg|.png|.html")] = None
    """The picture; left out, it is drawn in the terminal."""
    layers: bool = False
    """Layer by layer."""
    planning: Planning = field(default_factory=Planning)
    json: Json = False

    def __call__(self) -> None:
        if self.out:
            check_can_write(self.out, ".svg", ".png", ".html")
        model, plan = self.planning.network_and_plan(self.model, self.rule)
        chart = plan.chart(model if self.layers else None)
        if self.out:
            write(self.out, drawn(chart, self.out.suffix, str(plan)))
        if self.json:
            print_json(asdict(chart))
        elif self.out:
            print(f"written to {self.out}")
        else:
            from reconfig.cli.terminal import show

            show(chart)


def drawn(chart: Chart, suffix: str, figures: str) -> str | bytes:
    """The chart in the format of a file with this suffix, with the same in ``figures`` where it has room.

    Raises:
        ExportError: what draws it is not installed.
    """
    from reconfig.picture.html import page
    from reconfig.picture.png import png
    from reconfig.picture.svg import svg

    if suffix == ".png":
        return png(chart)
    return svg(chart) if suffix == ".svg" else page(chart, figures)
