"""The rule language: what parses, what it means, and what the errors say."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from reconfig import NAMED, DepthError, Rule, RuleError
from reconfig.rule import check_gamma, scaled


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("10-10-4", Rule(width=(10, 10, 4))),
        ("w10-10-4", Rule(width=(10, 10, 4))),
        ("  10-4 ", Rule(width=(10, 4))),
        ("10-10-4.5", Rule(width=(10, 10, 4.5))),
        ("d9-7-1", Rule(depth=(9, 7, 1))),
        ("d7-9-3 w10-10-4", Rule(width=(10, 10, 4), depth=(7, 9, 3))),
        ("w10-10-4 d7-9-3", Rule(width=(10, 10, 4), depth=(7, 9, 3))),
        ("10-10-4 growth", Rule(width=(10, 10, 4), growth=True)),
    ],
)
def test_parse(text: str, rule: Rule) -> None:
    assert Rule.parse(text) == rule


@pytest.mark.parametrize("name", list(NAMED))
def test_named_rules_parse_and_cite(name: str) -> None:
    assert Rule.parse(name) == Rule.parse(NAMED[name].rule)
    assert "NeurIPS 2021" in NAMED[name].citation


def test_a_rule_is_its_own_rule() -> None:
    rule = Rule(width=(10.0, 4.0))
    assert Rule.parse(rule) is rule


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=6),
    st.none() | st.lists(st.integers(1, 30), min_size=2, max_size=6),
    st.booleans(),
)
def test_str_parses_back(widths: list[int], depths: list[int] | None, growth: bool) -> None:
    rule = Rule(tuple(map(float, widths)), tuple(depths) if depths else None, growth)
    assert Rule.parse(str(rule)) == rule
    assert eval(repr(rule)) == rule


@pytest.mark.parametrize(
    "text", ["10", "a-b-c", "10--4", "10-4-", "-10-4", "x10-10-4", "10-10-4 shrink", "10,10,4", "w", "d"]
)
def test_what_does_not_parse(text: str) -> None:
    with pytest.raises(RuleError, match=r'in rule .* is not understood; a rule reads like "10-10-4"'):
        Rule.parse(text)


@pytest.mark.parametrize("text", ["", "   "])
def test_empty(text: str) -> None:
    with pytest.raises(RuleError, match=r'is empty; a rule reads like "10-10-4"'):
        Rule.parse(text)


def test_only_growth_says_nothing() -> None:
    with pytest.raises(RuleError, match="is empty"):
        Rule.parse("growth")


@pytest.mark.parametrize("text", ["10-10-0", "0-4", "0.0-10"])
def test_zero_width(text: str) -> None:
    with pytest.raises(RuleError, match="width terms must be above 0, not 0"):
        Rule.parse(text)


@pytest.mark.parametrize("width", [(10.0, -4.0), (10.0, math.nan), (math.inf, 4.0)])
def test_negative_or_no_number(width: tuple[float, ...]) -> None:
    with pytest.raises(RuleError, match="width terms must be above 0"):
        Rule(width=width)


def test_zero_depth() -> None:
    with pytest.raises(
        DepthError, match=r"at least one block, not 0; write at least 1 for every stage, as in 'd5-5-1'"
    ):
        Rule.parse("d5-5-0")


def test_half_a_block() -> None:
    with pytest.raises(DepthError, match=r"depth 1.5 in rule 'd5-1.5' is not whole"):
        Rule.parse("d5-1.5")


def test_given_twice() -> None:
    with pytest.raises(RuleError, match="gives widths twice"):
        Rule.parse("w10-4 10-4")
    with pytest.raises(RuleError, match="gives depths twice"):
        Rule.parse("d1-4 d1-4")


def test_neither_width_nor_depth() -> None:
    with pytest.raises(RuleError, match="needs a width or a depth"):
        Rule()


@pytest.mark.parametrize("thing", [10, None, ["10", "4"]])
def test_not_a_string(thing: object) -> None:
    with pytest.raises(RuleError, match=r"a rule is a string or a reconfig.Rule, not"):
        Rule.parse(thing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stages", "ratios"),
    [(1, (0.4,)), (2, (1, 0.4)), (3, (1, 1, 0.4)), (5, (1, 1, 1, 1, 0.4))],
)
def test_equal_leading_terms_stretch_and_shrink(stages: int, ratios: tuple[float, ...]) -> None:
    assert Rule.parse("10-10-4").ratios(stages) == pytest.approx(ratios)


def test_unequal_leading_terms_must_match() -> None:
    assert Rule.parse("10-8-4").ratios(3) == pytest.approx((1, 0.8, 0.4))
    with pytest.raises(RuleError, match=r"has 3 width terms and the model has 4 stages: .* as in '10-10-10-4'"):
        Rule.parse("10-8-4").ratios(4)


def test_depths_are_absolute_and_do_not_stretch() -> None:
    assert Rule.parse("d5-5-1").depths(3) == (5, 5, 1)
    assert Rule.parse("10-4").depths(3) is None
    with pytest.raises(DepthError, match=r"has 3 depth terms and the model has 4 stages: .* as in 'd2-2-2-2'"):
        Rule.parse("d5-5-1").depths(4)


@pytest.mark.parametrize("gamma", [0, -1, math.nan, math.inf, "2", None, True])
def test_bad_gamma(gamma: object) -> None:
    with pytest.raises(RuleError, match=r"gamma must be a finite number above 0, not .*; gamma=1.0 keeps"):
        check_gamma(gamma)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "factor", "divisor", "new"),
    [(512, 0.4, 1, 205), (288, 0.4, 2, 116), (25, 0.1, 1, 3), (10, 0.01, 1, 1), (64, 0.1, 32, 32), (160, 0.25, 1, 40)],
)
def test_scaled_to_the_nearest_multiple(size: int, factor: float, divisor: int, new: int) -> None:
    assert scaled(size, factor, divisor) == new


@given(st.integers(1, 64), st.integers(1, 40), st.floats(0.05, 8))
def test_scaled_is_a_multiple_and_near(divisor: int, multiple: int, factor: float) -> None:
    new = scaled(divisor * multiple, factor, divisor)
    assert new % divisor == 0
    assert new >= divisor
    assert abs(new - divisor * multiple * factor) <= divisor / 2 + 1e-6 or new == divisor
