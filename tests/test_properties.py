"""Any network, any rule: the result does what its plan says, or a named error says why there is none."""

from __future__ import annotations

from itertools import cycle

import drawn
import pytest
from graphs import HEADS, PIECES, Network, Spec, check
from hypothesis import given, settings, strategies as st
from properties import (
    SPECS,
    any_rule_works,
    depth_and_budget_work_or_say_why,
    image,
    last_stage_shrinks,
    ratios_and_channels_work_or_say_why,
    unchanged,
)

quick = drawn.quick(12)
# In parts, so that several processes can share them (pytest -n).
PARTS = 8
thorough = drawn.thorough(2000 // PARTS)


@given(SPECS, st.data())
@quick
def test_any_rule_works_on_any_network(spec: Spec, data: st.DataObject) -> None:
    any_rule_works(spec, data)


@given(SPECS, st.data())
@quick
def test_depth_and_budget_work_or_say_why(spec: Spec, data: st.DataObject) -> None:
    depth_and_budget_work_or_say_why(spec, data)


@given(SPECS, st.data())
@settings(quick, max_examples=15)
def test_ratios_and_channels_work_or_say_why(spec: Spec, data: st.DataObject) -> None:
    ratios_and_channels_work_or_say_why(spec, data)


@given(SPECS)
@quick
def test_the_last_stage_shrinks(spec: Spec) -> None:
    last_stage_shrinks(spec)


@given(SPECS)
@quick
def test_ratio_one_changes_nothing(spec: Spec) -> None:
    unchanged(spec)


@pytest.mark.parametrize(("piece", "head"), list(zip(sorted(PIECES), cycle(sorted(HEADS)), strict=False)))
def test_every_piece_alone(piece: str, head: str) -> None:
    """The generator itself: each piece runs in each position, and is scaled or frozen by "5-5"."""
    spec = Spec(8, ((8, (piece,)), (16, (piece, piece))), False, head)
    plan, _ = check(Network(spec), image(), "5-5")
    assert plan.params < plan.params_before


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(PARTS))
@given(spec=SPECS, data=st.data())
@thorough
def test_two_thousand_networks(part: int, spec: Spec, data: st.DataObject) -> None:
    any_rule_works(spec, data)
    depth_and_budget_work_or_say_why(spec, data)
    ratios_and_channels_work_or_say_why(spec, data)
    last_stage_shrinks(spec)
    unchanged(spec)
