"""Budgets: gamma solved by arithmetic, and the whole widths around it that come closest."""

from __future__ import annotations

import pytest
import torch
from structures import GroupedBlock, Net
from torch import nn

import reconfig
from reconfig import zoo
from reconfig.planning import agree
from reconfig.planning.budget import meet
from reconfig.planning.scaling import Group


class Grouped(nn.Module):
    """Two stages whose widths are multiples of many groups, so that they move in coarse steps."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 57, 3, padding=1)
        self.a = nn.Conv2d(57, 57, 3, padding=1, groups=19)
        self.down = nn.Conv2d(57, 138, 3, stride=2, padding=1)
        self.b = nn.Conv2d(138, 138, 3, padding=1, groups=46)
        self.head = nn.Linear(138, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.b(self.down(self.a(self.first(x)).relu()).relu()).relu().mean((2, 3)))


IMAGE = torch.zeros(1, 3, 16, 16)


@pytest.mark.parametrize(("budget", "miss"), [("params", 0.12), ("flops", 0.09)])
def test_coarse_divisors_are_met_as_near_as_multiples_allow(budget: str, miss: float) -> None:
    plan = reconfig.plan(Grouped(), "10-4 keep=groups", budget=budget, example_input=IMAGE)
    before, after = (plan.params_before, plan.params) if budget == "params" else (plan.flops_before, plan.flops)
    widths = [stage.width[1] for stage in plan.stages]
    assert widths[0] % 19 == widths[1] % 46 == 0

    def count(first: int, last: int) -> int:
        sized = Grouped()
        sized.first, sized.a = nn.Conv2d(3, first, 3, padding=1), nn.Conv2d(first, first, 3, padding=1, groups=19)
        sized.down = nn.Conv2d(first, last, 3, stride=2, padding=1)
        sized.b, sized.head = nn.Conv2d(last, last, 3, padding=1, groups=46), nn.Linear(last, 10)
        same = reconfig.plan(sized, "10-10", example_input=IMAGE)
        return same.params if budget == "params" else same.flops

    assert count(*widths) == after
    by_gamma = reconfig.plan(Grouped(), "10-4 keep=groups", gamma=plan.gamma, example_input=IMAGE)
    rounded = by_gamma.params if budget == "params" else by_gamma.flops
    assert abs(after - before) <= abs(rounded - before)
    assert abs(after / before - 1) < miss


def test_widths_without_a_divisor_make_up_for_those_that_have_one() -> None:
    trunk = nn.Sequential(GroupedBlock(64, 64, 16), GroupedBlock(64, 128, 16, 2))
    model = Net(trunk, 64, 128)
    plan = reconfig.plan(model, "10-4", budget="params", example_input=IMAGE)
    inner, outer = (plan.after[f"trunk.1.{name}.weight"][0] for name in ("grouped", "expand"))
    assert inner % 16 == 0 != outer % 16
    assert abs(plan.params / plan.params_before - 1) < 2e-3
    plan = reconfig.plan(model, "10-4 multiple=16", budget="params", example_input=IMAGE)
    assert all(plan.after[f"trunk.1.{name}.weight"][0] % 16 == 0 for name in ("grouped", "expand"))


def test_where_all_widths_are_coarse_single_ones_make_up_for_the_others() -> None:
    trunk = nn.Sequential(*(GroupedBlock(256, 256, 32) for _ in range(2)), GroupedBlock(256, 512, 32, 2))
    plan = reconfig.plan(Net(trunk, 256, 512), "10-4 multiple=32", budget="params", example_input=IMAGE)
    inner = [plan.after[f"trunk.{number}.{name}.weight"][0] for number in range(3) for name in ("expand", "grouped")]
    assert all(width % 32 == 0 for width in inner)
    assert abs(plan.params / plan.params_before - 1) < 1e-3  # 2.3 % where equal widths stay equal


def test_a_budget_is_met_anew_once_however_many_numbers_stand_in_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.ModuleList(nn.Conv2d(16, 24, 1) for _ in range(4))
            self.outer = nn.ModuleList(nn.Conv2d(24, 16, 1) for _ in range(4))
            self.stem, self.last, self.head = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 64, 3, 2), nn.Linear(64, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            for number in range(4):
                y = self.inner[number](x)
                y = y.reshape(len(y), 4, 6, *y.shape[2:]).flatten(1, 2)
                x = x + self.outer[number](y)
            return self.head(self.last(x).mean((2, 3)))

    met = []
    monkeypatch.setattr(agree, "meet", lambda *given: met.append(meet(*given)) or met[-1])
    plan = reconfig.plan(Written(), "10-5", budget="params", example_input=IMAGE)
    assert {layer for frozen in plan.frozen for layer in frozen.layers} == {f"inner.{number}" for number in range(4)}
    assert len(met) == 2
    assert abs(plan.params / plan.params_before - 1) < 1e-2


def test_many_widths_meet_a_budget_to_a_hundredth_of_a_percent() -> None:
    plan = reconfig.plan(zoo.resnet18(), "10-10-4", budget="params")
    assert abs(plan.params / plan.params_before - 1) < 1e-4


def test_a_width_may_round_up_or_down_to_its_divisor() -> None:
    group = Group(widths=(0,), size=100, ratio=0.4, divisor=16, preferred=16)
    assert (group.scaled(1.0), group.alternatives(1.0)) == (48, (32, 48))
    assert Group(widths=(0,), size=16, ratio=0.1, divisor=16, preferred=16).alternatives(1.0) == (16,)


def test_a_preferred_multiple_is_taken_where_it_is_near() -> None:
    group = Group(widths=(0,), size=100, ratio=0.41, divisor=1, preferred=8)
    assert (group.scaled(1.0), group.alternatives(1.0)) == (40, (40,))
    assert (group.scaled(3.0), group.alternatives(3.0)) == (120, (120, 128))
    assert (group.scaled(0.3), group.alternatives(0.3)) == (12, (12, 13))  # 8 and 16 are too far from 12.3
    assert Group(widths=(0,), size=100, ratio=1.0, divisor=1, preferred=8).scaled(1.0) == 100


@pytest.mark.parametrize(("unit", "number"), [("flops", 400_000_000), ("params", 9_000_000)])
def test_a_number_of_either(unit: str, number: int) -> None:
    plan = reconfig.plan(zoo.resnet18(), "10-10-4", budget=(unit, number))
    assert (plan.budget, plan.budget_of) == (number, unit)
    reached = plan.flops if unit == "flops" else plan.params
    assert abs(reached / number - 1) < 5e-3
    plan.verify(plan.apply(zoo.resnet18()))


@pytest.mark.parametrize("budget", [("flop", 10**9), ("flops", 0), ("flops", 1.5), ("flops",), ("flops", True), True])
def test_pairs_that_are_no_budget(budget: object) -> None:
    with pytest.raises(reconfig.BudgetError, match=r"a pair such as \('flops', 1_000_000_000\), not "):
        reconfig.plan(zoo.resnet18(), "10-10-4", budget=budget)  # type: ignore[arg-type]
