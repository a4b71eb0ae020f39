"""The rule language: what parses, what it means, and what the errors say."""

from __future__ import annotations

import math
import re
from dataclasses import fields
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given, strategies as st

from reconfig import NAMED, DepthError, Rule, RuleError
from reconfig.rule import check_gamma, scaled, widening
from reconfig.words import WORDS


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
        ("c216-432-864", Rule(channels=(216, 432, 864))),
        ("d30-31-10 c216-432-864", Rule(depth=(30, 31, 10), channels=(216, 432, 864))),
        ("d2:2:1", Rule(depth_ratio=(2, 2, 1))),
        ("w2:2.5:1", Rule(width_ratio=(2, 2.5, 1))),
        ("d2:2:1 w5-7-3", Rule(depth_ratio=(2, 2, 1), width=(5, 7, 3))),
        ("10-4 keep=groups multiple=8", Rule(width=(10, 4), keep="groups", multiple=8)),
        ("multiple=16 keep=group-width d2-1", Rule(depth=(2, 1), keep="group-width", multiple=16)),
        ("d:w=7:3 w2:2.5:1 d2:2:1", Rule(depth_ratio=(2, 2, 1), width_ratio=(2, 2.5, 1), balance=(7, 3))),
    ],
)
def test_parse(text: str, rule: Rule) -> None:
    assert Rule.parse(text) == rule


@pytest.mark.parametrize("name", list(NAMED))
def test_named_rules_parse_and_cite(name: str) -> None:
    named = NAMED[name]
    assert Rule.parse(name) == Rule.parse(named.rule)
    assert any(venue in named.citation for venue in ("NeurIPS 2021", "CVPR 2023", "BMVC 2023"))
    assert named.network
    assert named.besides


@pytest.mark.parametrize("attribute", WORDS)
def test_every_word_sets_its_attribute_and_says_its_source(attribute: str) -> None:
    word = WORDS[attribute]
    besides = {"balance": "d2:2:1 w2:2.5:1", **dict.fromkeys(("growth", "keep", "multiple"), "10-4")}.get(attribute, "")
    rule = Rule.parse(f"{word.example} {besides}")
    assert getattr(rule, attribute)
    assert word.meaning
    assert word.source


def test_every_attribute_has_a_word() -> None:
    assert {field.name for field in fields(Rule)} == set(WORDS)


def test_a_rule_is_its_own_rule() -> None:
    rule = Rule(width=(10.0, 4.0))
    assert Rule.parse(rule) is rule


def terms(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(numbers, min_size=2, max_size=6).map(tuple)


HUNDREDTHS = st.integers(1, 100_000).map(lambda number: number / 100)
WHOLE = st.integers(1, 100_000)
WIDTHS = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"width": terms(HUNDREDTHS)}),
    st.fixed_dictionaries({"channels": terms(WHOLE)}),
    st.fixed_dictionaries({"width_ratio": terms(HUNDREDTHS)}),
)
DEPTHS = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"depth": terms(WHOLE)}),
    st.fixed_dictionaries({"depth_ratio": terms(HUNDREDTHS)}),
)


@given(WIDTHS, DEPTHS, st.none() | st.tuples(HUNDREDTHS, HUNDREDTHS), st.booleans(), st.randoms())
def test_str_parses_back(
    widths: dict[str, Any], depths: dict[str, Any], balance: Any, growth: bool, random: Random
) -> None:
    assume(widths or depths)
    both = "width_ratio" in widths and "depth_ratio" in depths
    rule = Rule(**widths, **depths, growth=growth, balance=balance if both else None)
    words = str(rule).split()
    random.shuffle(words)
    assert Rule.parse(" ".join(words)) == Rule.parse(str(rule)) == rule
    assert eval(repr(rule)) == rule


@given(st.text(alphabet="dwc0123456789.:-= growth", max_size=20))
def test_any_text_is_a_rule_or_an_error_that_says_how(text: str) -> None:
    said = ""
    try:
        rule = Rule.parse(text)
    except RuleError as error:
        said = str(error)
    assert re.search("as in|reads like|write", said) if said else Rule.parse(str(rule)) == rule


@pytest.mark.parametrize(
    "text",
    [
        *("10", "a-b-c", "10--4", "10-4-", "-10-4", "x10-10-4", "10-10-4 shrink", "10,10,4", "w", "d"),
        *("c64", "w2:", "d:2:1", "2:2.5:1", "c2:1", "w2:1-3", "d:w=7", "d:w=7:3:1", "d:w7:3", "w:d=3:7"),
    ],
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


def test_a_depth_beyond_all_numbers() -> None:
    with pytest.raises(DepthError, match=r"depth inf in rule 'd5-9*' is not whole"):
        Rule.parse("d5-" + "9" * 400)


def test_given_twice() -> None:
    with pytest.raises(RuleError, match="gives widths twice"):
        Rule.parse("w10-4 10-4")
    with pytest.raises(RuleError, match="gives depths twice"):
        Rule.parse("d1-4 d1-4")
    with pytest.raises(RuleError, match=r"rule 'w2:1 c64-32' gives|rule 'c64-32 w2:1' gives widths twice"):
        Rule.parse("w2:1 c64-32")
    with pytest.raises(RuleError, match=r"rule 'd3-4 d2:1' gives depths twice"):
        Rule.parse("d2:1 d3-4")
    with pytest.raises(RuleError, match="gives the balance twice"):
        Rule.parse("d2:1 w1:1 d:w=7:3 d:w=7:3")


@pytest.mark.parametrize("text", ["d:w=7:3", "d2:2:1 d:w=7:3", "w2:2.5:1 d:w=7:3", "d2:2:1 10-10-4 d:w=7:3"])
def test_a_balance_is_between_two_ratios(text: str) -> None:
    with pytest.raises(RuleError, match=r"needs a width or a depth|both must be ratios; write e\.g\. 'd2:2:1 w2:2.5:1"):
        Rule.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c64-0", "channel terms must be above 0, not 0"),
        ("w2:0", "ratio terms must be above 0, not 0"),
        ("d0:1", "ratio terms must be above 0, not 0"),
        ("d2:1 w1:1 d:w=0:3", "ratio terms must be above 0, not 0"),
        ("c64-" + "9" * 400, "channel count inf in rule"),
        ("w2:" + "9" * 400, "ratio terms must be above 0, not inf"),
        ("c64-32.5", r"channel count 32.5 in rule 'c64-32.5' is not whole; write whole numbers, as in 'c216-432-864'"),
    ],
)
def test_terms_that_count_nothing(text: str, message: str) -> None:
    with pytest.raises(RuleError, match=message):
        Rule.parse(text)


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
    assert Rule.parse("10-10-4").ratios([64] * stages) == pytest.approx(ratios)


def test_unequal_leading_terms_must_match() -> None:
    assert Rule.parse("10-8-4").ratios([64] * 3) == pytest.approx((1, 0.8, 0.4))
    with pytest.raises(RuleError, match=r"has 3 width terms and the model has 4 stages: .* as in '10-10-10-4'"):
        Rule.parse("10-8-4").ratios([64] * 4)


def test_ratios_stretch_as_tenths_do() -> None:
    rule = Rule.parse("d2:2:1 w3:3:1")
    assert rule.ratios([64] * 5) == (3, 3, 3, 3, 1)
    assert rule.depth_ratios(4) == (2, 2, 2, 1)
    with pytest.raises(RuleError, match=r"has 3 width terms and the model has 4 stages: .* as in 'w2:2:2:1'"):
        Rule.parse("w2:2.5:1").ratios([64] * 4)
    with pytest.raises(DepthError, match=r"has 3 depth terms and the model has 4 stages: .* as in 'd2:2:2:1'"):
        Rule.parse("d2:3:1").depth_ratios(4)


def test_channels_are_over_the_models_own_and_do_not_stretch() -> None:
    assert Rule.parse("c216-432-864").ratios([256, 512, 1024]) == (0.84375,) * 3
    with pytest.raises(
        RuleError, match=r"has 2 channel terms and the model has 3 stages: .* as in 'c64-128-256', which"
    ):
        Rule.parse("c64-32").ratios([64, 128, 256])


def test_what_a_budget_solves() -> None:
    cases = {"10-4": (False, True), "c64-32": (False, True), "d2:1": (True, False), "d2:1 10-4": (True, False)}
    cases |= {"w2:1": (True, True), "d3-1 w2:1": (True, True), "d2:1 w2:1": (True, True)}
    assert {text: (Rule.parse(text).open, Rule.parse(text).solves_gamma) for text in cases} == cases


def test_widening_factors_are_those_of_wide_residual_networks() -> None:
    assert widening([160, 320, 640]) == 30
    assert widening([80, 224, 192]) == 15


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
