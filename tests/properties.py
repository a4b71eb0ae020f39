"""What is true of any network and any rule, of networks put together of any pieces."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from graphs import HEADS, PIECES, SIDE, Network, Spec, check
from hypothesis import strategies as st
from torch import Tensor

import reconfig

SPECS = st.builds(
    Spec,
    stem=st.sampled_from([8, 12, 16]),
    stages=st.lists(
        st.tuples(
            st.sampled_from([8, 12, 16, 24]),
            st.lists(st.sampled_from(sorted(PIECES)), min_size=1, max_size=3).map(tuple),
        ),
        min_size=2,
        max_size=4,
    ).map(tuple),
    pooled=st.booleans(),
    head=st.sampled_from(sorted(HEADS)),
)
TERMS = st.integers(3, 15)
GAMMAS = st.floats(0.3, 2.5) | st.just(1.0)


def image() -> Tensor:
    return torch.randn(2, 3, SIDE, SIDE)


def any_rule_works(spec: Spec, data: st.DataObject) -> None:
    """A width rule never fails: what cannot be scaled stays as it is."""
    model, x = Network(spec), image()
    stages = reconfig.stages(model, x)
    rule = "-".join(str(data.draw(TERMS, label="term")) for _ in stages) if len(stages) > 1 else "10-4"
    check(model, x, rule, gamma=data.draw(GAMMAS, label="gamma"))


def depth_and_budget_work_or_say_why(spec: Spec, data: st.DataObject) -> None:
    model, x = Network(spec), image()
    stages = reconfig.stages(model, x)
    rule = "-".join(str(data.draw(TERMS, label="term")) for _ in stages) if len(stages) > 1 else "10-4"
    if data.draw(st.booleans(), label="with depth") and len(stages) > 1:
        rule = f"d{'-'.join(str(data.draw(st.integers(1, 3))) for _ in stages)} w{rule}"
    budget: Any = data.draw(st.sampled_from(["params", "flops", None]) | st.integers(1000, 100_000), label="budget")
    try:
        plan, _ = check(model, x, rule, budget=budget)
    except (reconfig.BudgetError, reconfig.DepthError):
        return
    if budget is not None:
        assert plan.budget == (getattr(plan, f"{budget}_before") if isinstance(budget, str) else budget)


def ratios_and_channels_work_or_say_why(spec: Spec, data: st.DataObject) -> None:
    model, x = Network(spec), image()
    found = reconfig.stages(model, x)
    if len(found) == 1:
        return

    def terms(by: str, numbers: st.SearchStrategy[float]) -> str:
        return by.join(f"{data.draw(numbers, label='term'):g}" for _ in found)

    ratio = st.sampled_from([1, 1.5, 2, 3])
    depths = data.draw(
        st.sampled_from(["", f"d{terms(':', ratio)}", "d" + "-".join(["2"] * len(found))]), label="depths"
    )
    widths = data.draw(st.sampled_from([f"w{terms(':', ratio)}", f"c{terms('-', st.integers(4, 40))}"]), label="widths")
    budget: Any = data.draw(st.sampled_from(["params", "flops"]) | st.integers(1000, 100_000), label="budget")
    rule = f"{depths} {widths}"
    if "c" in rule and any(stage.dense for stage in found):
        with pytest.raises((reconfig.RuleError, reconfig.BudgetError)):
            reconfig.plan(model, rule, budget=budget, example_input=x)
        return
    try:
        plan, _ = check(model, x, rule, budget=budget)
    except (reconfig.BudgetError, reconfig.DepthError):
        return
    assert plan.budget_of == ("flops" if budget == "flops" else "params")


def last_stage_shrinks(spec: Spec) -> None:
    """Of "10-10-4", nothing in the last stage stays as it was unless the plan says so."""
    model, x = Network(spec), image()
    last = reconfig.stages(model, x)[-1]
    plan = reconfig.plan(model, "10-10-4", example_input=x)
    frozen = {path for item in plan.frozen for path in item.layers}
    if last.dense:
        return
    for path in last.layers:
        shape = plan.before.get(f"{path}.weight", ())
        if path not in frozen and len(shape) > 1 and math.prod(shape[1:]) > 9 and shape[0] >= 8:
            assert plan.after[f"{path}.weight"][0] < shape[0], f"{path} of the last stage keeps {shape[0]} channels"


def unchanged(spec: Spec) -> None:
    """Ratio 1 and gamma 1 change nothing."""
    model, x = Network(spec), image()
    plan, result = check(model, x, "10-10-10")
    assert plan.after == plan.before
    assert plan.attributes == ()
    assert not plan.frozen
    assert (plan.params, plan.flops) == (plan.params_before, plan.flops_before)
    assert result.state_dict().keys() == model.state_dict().keys()
