"""Tables as text, and a plan as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from reconfig.plan import Plan
    from reconfig.stages import Stages


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as their longest cell, right-aligned, a rule under the header."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _size(resolution: Sequence[int]) -> str:
    return "x".join(map(str, resolution)) or "1"


def _change(before: int, after: int) -> str:
    return f"{before:,}" if before == after else f"{before:,} -> {after:,}"


def _names(names: Sequence[str], most: int = 3) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def stages_table(stages: Stages) -> str:
    """What reconfig sees in a model: a line for each stage, then stem and head."""
    rows = [
        (
            stage.index,
            f"1/{stage.reduction}",
            _size(stage.resolution),
            len(stage.blocks) or "plain",
            f"{stage.width}{' dense' if stage.dense else ''}",
            _names(stage.blocks or stage.layers),
        )
        for stage in stages
    ]
    lines = [table(("stage", "scale", "resolution", "blocks", "width", "modules"), rows)]
    lines += [f"{name}: {_names(layers)}" for name, layers in (("stem", stages.stem), ("head", stages.head)) if layers]
    return "\n".join(lines)


def plan_table(plan: Plan) -> str:
    """A plan for a person: what each stage becomes, the totals, and what had to stay."""
    rows = [
        (
            stage.index,
            _size(stage.resolution),
            _change(*stage.blocks) if stage.blocks[0] else "plain",
            _change(*stage.width) + (" dense" if stage.dense else ""),
            _change(*stage.params),
        )
        for stage in plan.stages
    ]
    lines = [
        f"{plan.model}, rule {plan.rule}, gamma {plan.gamma:.4g}",
        table(("stage", "resolution", "blocks", "width", "parameters"), rows),
        f"parameters {_change(plan.params_before, plan.params)}, multiply-adds "
        f"{_change(plan.flops_before, plan.flops)}",
    ]
    if plan.budget is not None:
        reached = plan.params if plan.budget_of == "params" else plan.flops
        lines.append(f"budget {plan.budget:,} {plan.budget_of}: met to {(reached / plan.budget - 1):+.3%}")
    lines += [
        f"frozen at {item.width} in stage {item.stage} ({_names(item.layers)}): {item.reason}" for item in plan.frozen
    ]
    return "\n".join(lines)


# -- picture -----------------------------------------------------------------------------------------------------------

_BAR, _GAP, _FULL, _TEXT = 26, 14, 420, 250  # heights, the widest bar, room for the text beside it
_BEFORE, _AFTER, _INK = "#c9ced6", "#0b7285", "#1b1f24"


def plan_svg(plan: Plan) -> str:
    """A plan as a picture: each stage a bar as wide as its channels, before (grey) and after (blue), input on top."""
    widest = max(max(stage.width) for stage in plan.stages)
    height = 70 + len(plan.stages) * (2 * _BAR + _GAP)
    title = f"{plan.model}, rule {plan.rule}, γ = {plan.gamma:.4g}"
    total = f"{plan.params_before:,} parameters (grey) → {plan.params:,} (blue)"
    rows = [_text(16, 24, title, "bold"), _text(16, 44, total)]
    for number, stage in enumerate(plan.stages):
        top = 62 + number * (2 * _BAR + _GAP)
        for row, (width, colour) in enumerate(zip(stage.width, (_BEFORE, _AFTER), strict=True)):
            length = max(2, round(_FULL * width / widest))
            left = 16 + (_FULL - length) / 2
            rows.append(f'<rect x="{left:g}" y="{top + row * _BAR}" width="{length}" height="{_BAR}" fill="{colour}"/>')
        blocks = f", {_change(*stage.blocks).replace('->', '→')} blocks" if stage.blocks[0] else ""
        rows.append(
            _text(_FULL + 32, top + _BAR - 5, f"stage {stage.index}, {_size(stage.resolution)}{blocks}", "bold")
        )
        rows.append(_text(_FULL + 32, top + 2 * _BAR - 9, f"width {_change(*stage.width).replace('->', '→')}"))
    size = f'width="{_FULL + _TEXT}" height="{height}" viewBox="0 0 {_FULL + _TEXT} {height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">',
            f'<rect width="100%" height="100%" fill="white"/><g fill="{_INK}">',
            *rows,
            "</g></svg>",
        ]
    )


def _text(x: float, y: float, words: str, weight: str = "normal") -> str:
    return f'<text x="{x:g}" y="{y:g}" font-weight="{weight}">{escape(words)}</text>'
