"""What pictures of plans and stages show, before anything is drawn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import reconfig
from reconfig import zoo
from reconfig.errors import PlanError
from reconfig.picture.chart import Cell, Row, brief, shortened
from reconfig.picture.layers import layer_rows


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1.00 k"),
        (46_160, "46.2 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (46_160_474, "46.2 M"),
        (1_234_567_890, "1.23 G"),
    ],
)
def test_counts_have_three_digits(number: int, text: str) -> None:
    assert brief(number) == text


def test_shortened_words_fit() -> None:
    assert shortened("blocks.0.conv", 13) == "blocks.0.conv"
    assert shortened("blocks.0.conv", 8) == "blocks.…"
    assert shortened("blocks.0.conv", 8, keep_end=True) == "….0.conv"


def row(*lengths: int | None) -> Row:
    return Row("", "", tuple(length and Cell(length, (f"{length}",)) for length in lengths))


def test_a_row_says_how_it_changed() -> None:
    assert [(r.changed, r.ratio) for r in (row(5, 5), row(10, 4), row(3, 7), row(5, None), row(None, 5), row(5))] == [
        (False, ""),
        (True, "×0.4"),
        (True, "×2.33"),
        (True, "gone"),
        (True, "new"),
        (False, ""),
    ]
    assert Row("", "", (Cell(10, ("512 → 10",)), Cell(10, ("205 → 10",)))).changed


def test_a_plan_stage_by_stage() -> None:
    plan = reconfig.plan(zoo.resnet18(), "d2-2-2-1 w10-10-10-4")
    chart = plan.chart()
    assert chart.title == "ResNet18, rule d2-2-2-1 w10-10-10-4, γ = 1"
    assert chart.words.startswith("11,173,962 → 3,")
    assert chart.columns == ("before", "after")
    assert [r.title for r in chart.rows] == ["stage 1", "stage 2", "stage 3", "stage 4"]
    last = chart.rows[-1]
    assert last.words == "4x4"
    assert last.cells == (
        Cell(512, ("512 channels", "2 blocks", "8.39 M parameters"), "8,393,728 parameters"),
        Cell(205, ("205 channels", "1 block", brief(plan.stages[3].params[1]) + " parameters"), last.cells[1].details),  # type: ignore[union-attr]
    )
    assert not chart.dense


def test_a_plan_layer_by_layer() -> None:
    model = zoo.resnet18()
    plan = reconfig.plan(model, "d2-2-2-1 w10-10-10-4")
    chart = plan.chart(model)
    made = {name: module for name, module in plan.apply(model).named_modules() if isinstance(module, nn.Conv2d)}
    shown = {r.title: r for r in chart.rows}
    assert {name for name, r in shown.items() if r.cells[1] is not None} == {*made, "linear"}
    for name, module in made.items():
        after = shown[name].cells[1]
        assert after is not None
        assert (after.length, after.words[0]) == (module.out_channels, f"{module.in_channels} → {module.out_channels}")
    gone = [name for name, r in shown.items() if r.ratio == "gone"]
    assert gone == [name for name in shown if name.startswith(gone[0].rpartition(".")[0])]
    assert chart.dense
    with pytest.raises(PlanError, match="this plan was made for another architecture"):
        plan.chart(zoo.vgg11())


def test_new_layers_stand_behind_the_block_that_they_follow() -> None:
    model = zoo.resnet18()
    names = [r.title for r in reconfig.plan(model, "d3-2-2-2").chart(model).rows]
    new = [r.title for r in reconfig.plan(model, "d3-2-2-2").chart(model).rows if r.ratio == "new"]
    assert len(new) == 2
    place = names.index(new[0])
    assert names[place - 1].rpartition(".")[0] < new[0].rpartition(".")[0] < names[place + 2].rpartition(".")[0]
    assert len(names) == len(set(names))


class Odd(nn.Module):
    """One of each kind of layer."""

    def __init__(self) -> None:
        super().__init__()
        self.deep = nn.Conv2d(8, 8, (3, 1), groups=4)
        self.up = nn.ConvTranspose2d(8, 5, 2)
        self.line = nn.Linear(5, 3)
        self.norm = nn.BatchNorm2d(3)
        self.table = nn.Parameter(nn.Linear(4, 6).weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_layers_of_every_kind() -> None:
    rows = layer_rows(Odd(), Odd())
    cells: dict[str, Any] = {r.title: r.cells[0] for r in rows}
    assert {name: (cell.length, cell.words) for name, cell in cells.items()} == {
        "the model itself": (6, ("6x4",)),
        "deep": (8, ("8 → 8", "3x1", "g4")),
        "up": (5, ("8 → 5", "2x2")),
        "line": (3, ("5 → 3",)),
    }
    assert cells["deep"].details == "Conv2d 8x2x3x1, 56 parameters"


def test_stages() -> None:
    chart = reconfig.stages(zoo.vgg11()).chart()
    assert chart.columns == ("channels",)
    assert chart.title == "5 stages"
    assert chart.words == "head: classifier"
    assert chart.rows[2] == Row(
        "stage 3",
        "8x8, 1/4",
        (Cell(256, ("256 channels", "plain", "features.8, features.11"), "features.8, features.11"),),
    )


class Stuck(nn.Module):
    """A network with a number in its code."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 10, 3, padding=1)
        self.b = nn.Conv2d(10, 20, 3, padding=1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x)).view(-1, 20 * 4 * 4).sum(1)


def test_what_is_frozen_is_noted() -> None:
    model = Stuck()
    plan = reconfig.plan(model, "10-4", example_input=torch.rand(1, 3, 8, 8))
    notes = (*plan.unscaled(), str(plan.frozen[0]))
    assert notes[0].startswith("stage 2 keeps 20 of its 20 channels, which the rule asks to change: the number 320")
    assert plan.chart().notes == notes
    assert plan.chart(model).notes == ("of each layer: channels in → out, kernel, g and the number of groups", *notes)
