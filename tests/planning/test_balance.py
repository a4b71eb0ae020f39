"""Ratios: their scale solved for a budget, in whole blocks and channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import drawn
import pytest
import torch
from graphs import check
from hypothesis import given, strategies as st
from torch import Tensor, nn

import reconfig
from reconfig import zoo
from reconfig.rule import widening
from reconfig.zoo.wrn import BasicBlock

quick = drawn.quick(10)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x).relu()


class Net(nn.Module):
    """Stages of residual blocks, each entered by a convolution of stride 2 that is a part of none."""

    def __init__(self, widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.stages = nn.Sequential()
        width = 8
        for new, depth in zip(widths, depths, strict=True):
            down = nn.Conv2d(width, new, 3, stride=2, padding=1)
            self.stages.append(nn.Sequential(down, *(Block(new) for _ in range(depth))))
            width = new
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(x)).mean((2, 3)))


IMAGE = torch.zeros(1, 3, 32, 32)
TERMS = st.sampled_from([1, 1.5, 2, 2.5, 3])
NETS = st.builds(
    lambda stages: Net(*zip(*stages, strict=True)),
    st.lists(st.tuples(st.sampled_from([8, 12, 24]), st.integers(1, 4)), min_size=2, max_size=3),
)


def ratio(data: st.DataObject, stages: int) -> tuple[float, ...]:
    return tuple(data.draw(TERMS) for _ in range(stages))


def joined(terms: Sequence[float], by: str = ":") -> str:
    return by.join(f"{term:g}" for term in terms)


def shape(net: Net) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(stage[0].out_channels for stage in net.stages), tuple(len(stage) - 1 for stage in net.stages)


def count(widths: Sequence[int], depths: Sequence[int], unit: str) -> int:
    """What a Net counts, by hand: (parameters, or multiply-adds at 32x32)."""
    before = (8, *widths)
    convs = [(3 * 8, 8, 32)]
    for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        side = 16 >> index
        convs += [(before[index] * width, width, side), *[(width * width, width, side)] * depth]
    if unit == "params":
        return sum(9 * products + biases for products, biases, _ in convs) + 10 * (widths[-1] + 1)
    return sum(9 * products * side * side for products, _, side in convs) + 10 * widths[-1]


@given(NETS)
@quick
def test_the_count_by_hand_is_the_plans(net: Net) -> None:
    plan = reconfig.plan(net, "10-10", example_input=IMAGE)
    assert (plan.params, plan.flops) == tuple(count(*shape(net), unit) for unit in ("params", "flops"))


@given(NETS, st.data(), st.sampled_from(["params", "flops"]), st.floats(1.01, 5))
@quick
def test_of_depths_in_a_ratio_none_comes_nearer(net: Net, data: st.DataObject, unit: Any, times: float) -> None:
    widths, _ = shape(net)
    terms = ratio(data, len(widths))
    budget = round(times * count(widths, [1] * len(widths), unit))
    plan = reconfig.plan(net, f"d{joined(terms)}", budget=(unit, budget), example_input=IMAGE)
    reached = plan.params if unit == "params" else plan.flops
    depths = tuple(stage.blocks[1] for stage in plan.stages)
    assert tuple(stage.width[1] for stage in plan.stages) == widths
    assert (plan.budget, plan.budget_of, plan.gamma) == (budget, unit, 1)
    assert reached == count(widths, depths, unit)
    tried = {tuple(max(1, math.floor(step / 64 * term + 0.5)) for term in terms) for step in range(64 * 60)}
    assert depths in tried
    assert abs(reached - budget) == min(abs(count(widths, other, unit) - budget) for other in tried)


@given(NETS, st.data(), st.sampled_from(["params", "flops"]), st.floats(0.5, 4), st.booleans())
@quick
def test_depths_and_widths_meet_a_budget_and_a_balance(
    net: Net, data: st.DataObject, unit: Any, times: float, given_balance: bool
) -> None:
    stages = len(net.stages)
    budget = round(times * count(*shape(net), unit))
    rule = f"d{joined(ratio(data, stages))} w{joined(ratio(data, stages))}" + (" d:w=2:1" if given_balance else "")
    plan = reconfig.plan(net, rule, budget=(unit, budget), example_input=IMAGE)
    reached = plan.params if unit == "params" else plan.flops
    widths, depths = [stage.width[1] for stage in plan.stages], [stage.blocks[1] for stage in plan.stages]
    assert reached == count(widths, depths, unit)
    assert abs(reached / budget - 1) < 0.05  # of channels in the tens
    own = sum(stage.blocks[0] for stage in plan.stages) / widening([stage.width[0] for stage in plan.stages])
    wanted = 2.0 if given_balance else own

    def off(plan: reconfig.Plan) -> float:
        sums = sum(stage.blocks[1] for stage in plan.stages), widening([stage.width[1] for stage in plan.stages])
        return abs(math.log(sums[0] / sums[1] / wanted))

    # At a block more or less in every stage, the widths that meet the budget are further from the balance.
    for step in (-1, 1):
        other = "-".join(str(max(1, depth + step)) for depth in depths)
        if other != "-".join(map(str, depths)):
            beside = reconfig.plan(net, f"d{other} {rule.split()[1]}", budget=(unit, budget), example_input=IMAGE)
            assert off(plan) <= off(beside) + 0.05, f"{other} is nearer the balance than {depths}"


@given(NETS, st.data())
@quick
def test_channels_are_what_was_asked_for(net: Net, data: st.DataObject) -> None:
    channels = [data.draw(st.integers(1, 60)) for _ in net.stages]
    plan = reconfig.plan(net, "c" + "-".join(map(str, channels)), example_input=IMAGE)
    assert [stage.width[1] for stage in plan.stages] == channels
    twice = reconfig.plan(net, "c" + "-".join(map(str, channels)), gamma=2, example_input=IMAGE)
    assert [stage.width[1] for stage in twice.stages] == [2 * number for number in channels]


def test_without_a_word_for_it_the_models_own_balance_is_kept() -> None:
    net = Net((16, 32), (4, 4))
    same = reconfig.plan(net, "d1:1 w1:1", budget="params", example_input=IMAGE)
    assert [stage.blocks for stage in same.stages] == [(4, 4)] * 2
    assert same.after == same.before
    larger = reconfig.plan(net, "d1:1 w1:1", budget=8 * same.params, example_input=IMAGE)
    assert [stage.blocks[1] for stage in larger.stages] == [8, 8]
    assert [stage.width[1] for stage in larger.stages] == pytest.approx([32, 64], abs=2)
    assert "depths to widening factors" not in str(larger)


def test_widths_that_are_given_stay_and_the_depth_is_solved() -> None:
    net = Net((16, 32), (2, 2))
    for rule, widths in (("d1:1 10-5", [16, 16]), ("d1:1 c20-12", [20, 12])):
        plan = reconfig.plan(net, rule, budget=60_000, example_input=IMAGE)
        assert [stage.width[1] for stage in plan.stages] == widths
        assert plan.gamma == 1
        assert plan.stages[0].blocks[1] > 2
        assert plan.rule == rule.replace("10-5", "w10-5")


def test_a_ratio_of_widths_is_tenths_whose_gamma_a_budget_solves() -> None:
    net = Net((16, 32), (2, 1))
    ratio = reconfig.plan(net, "d3-1 w2.5:1", budget="flops", example_input=IMAGE)
    tenths = reconfig.plan(net, "d3-1 w25-10", budget="flops", example_input=IMAGE)
    assert ratio.after == tenths.after


def test_a_plan_of_a_ratio_is_read_back_and_applied() -> None:
    net = Net((8, 16), (2, 1))
    plan = reconfig.plan(net, "d2:1 w2:1 d:w=7:3", budget=9_000, example_input=IMAGE)
    again = reconfig.Plan.from_json(plan.to_json())
    assert again == plan
    assert str(again) == str(plan)
    assert sum(p.numel() for p in again.apply(net).parameters()) == plan.params


# -- bad input


@pytest.mark.parametrize("rule", ["d2:1", "w2:1", "d2:1 w2:1", "d2:1 w10-4", "robustresnet-compound"])
def test_a_ratio_without_a_budget_names_the_call(rule: str) -> None:
    with pytest.raises(reconfig.BudgetError, match=rf"reconfig\.plan\(model, '{rule}', budget='params'\) or budget=\("):
        reconfig.plan(Net((8, 16), (1, 1)), rule, gamma=2, example_input=IMAGE)


@pytest.mark.parametrize(
    ("rule", "budget", "message"),
    [
        ("d2:1", 10, r"budget of 10 params is below what rule d2:1 can reach: with the fewest blocks the model has 5,"),
        ("d2:1", ("flops", 10), r"budget of 10 flops is below .*; ask for at least that, or let the widths follow"),
        ("d2:1 w1:1", 10, r"budget of 10 params is below what this rule can reach"),
        ("d2:1 w1:1", 0, r"budget must be 'params' or 'flops'"),
    ],
)
def test_budgets_that_no_depth_meets(rule: str, budget: Any, message: str) -> None:
    with pytest.raises(reconfig.BudgetError, match=message):
        reconfig.plan(Net((8, 16), (1, 1)), rule, budget=budget, example_input=IMAGE)


@pytest.mark.slow
def test_a_budget_that_no_number_of_blocks_meets() -> None:
    with pytest.raises(
        reconfig.BudgetError, match=r"1,000,000,000,000 params is out of reach of rule d2:1: 512 blocks"
    ):
        reconfig.plan(Net((8, 16), (1, 1)), "d2:1", budget=10**12, example_input=IMAGE)


def test_gamma_beside_a_budget() -> None:
    with pytest.raises(reconfig.BudgetError, match="a budget solves for gamma, so give one of the two"):
        reconfig.plan(Net((8, 16), (1, 1)), "d2:1", gamma=2, budget="params", example_input=IMAGE)


def test_ratios_that_do_not_fit_are_quoted_as_they_were_given() -> None:
    net = Net((8, 16), (1, 1))
    with pytest.raises(reconfig.RuleError, match=r"rule d2:1 w2:2\.5:1 has 3 width terms and the model has 2 stages"):
        reconfig.plan(net, "d2:1 w2:2.5:1", budget="params", example_input=IMAGE)
    with pytest.raises(reconfig.DepthError, match=r"rule d1:2:3 has 3 depth terms and the model has 2 stages"):
        reconfig.plan(net, "d1:2:3", budget="params", example_input=IMAGE)
    with pytest.raises(
        reconfig.RuleError, match=r"rule c8-8-8 has 3 channel terms .* as in 'c8-16', which are its own"
    ):
        reconfig.plan(net, "c8-8-8", example_input=IMAGE)


def test_plain_stages_have_no_depth() -> None:
    with pytest.raises(reconfig.DepthError, match=r"stage 1 has no blocks .* as in 'd1-1-1-1-1'"):
        reconfig.plan(zoo.vgg11(), "d2:2:1", budget="params")


def test_channels_that_groups_do_not_allow_are_said() -> None:
    net = Net((16, 32), (1, 1))
    net.stages[1].append(nn.Conv2d(32, 32, 3, padding=1, groups=8))
    plan = reconfig.plan(net, "c16-30", example_input=IMAGE)
    assert [stage.width[1] for stage in plan.stages] == [16, 32]
    assert str(plan).endswith("stage 2 has 32 channels, asked for 30")
    assert "asked for" not in str(reconfig.plan(net, "c16-24", example_input=IMAGE))


def test_channels_of_a_dense_stage() -> None:
    model = zoo.DenseNet((2, 2), growth=8)
    with pytest.raises(reconfig.RuleError, match=r"stage 1 is densely connected.* scale both, as in 'c16-16 growth'"):
        reconfig.plan(model, "c16-16")
    plan = reconfig.plan(model, "c16-16 growth")
    assert plan.stages[-1].width[1] == pytest.approx(16, abs=2)


def test_a_stage_keeps_the_blocks_that_cannot_go() -> None:
    """All blocks of the second stage change their input's shape."""
    model = zoo.WideResNet((2, 3), (8, 16), stem=8)
    model.blocks[1].layer[1] = BasicBlock(16, 24, 1, 0.0)
    model.blocks[1].layer[2] = BasicBlock(24, 16, 1, 0.0)
    plan, _ = check(model, IMAGE.repeat(2, 1, 1, 1), "d9:1", budget=26_500)
    assert [stage.blocks[1] for stage in plan.stages] == [6, 3]
    with pytest.raises(reconfig.BudgetError, match="with the fewest blocks the model has"):
        reconfig.plan(model, "d9:1", budget=5_000)
