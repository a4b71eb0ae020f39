"""The rules of later papers on wide residual networks: what the papers print, and what two counters say of it.

The rows are those of Table 2 of Huang S. et al. (CVPR 2023), as printed with its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from fvcore.nn import parameter_count
from torch import nn

import reconfig
from reconfig import zoo
from reconfig.words import WORDS

DOCS = Path(__file__).resolve().parent.parent.parent / "docs" / "rules.md"


@dataclass(frozen=True)
class Row:
    """A row: depths and widening factors, the printed figures in millions and milliards, and our count."""

    rule: str
    printed_params: str
    printed_multiply_adds: str
    params: int
    multiply_adds: int


RIGHT = [
    Row("d5-5-2 w10-10-10", "24.0", "5.25", 24_034_394, 5_248_645_376),
    Row("d4-4-4 w11-13-6", "24.5", "5.71", 24_521_434, 5_707_902_720),
    Row("d6-6-3 w12-12-12", "48.5", "9.59", 48_538_074, 9_590_087_168),
    Row("d5-5-5 w13-16-7", "44.4", "10.5", 44_415_386, 10_526_228_864),
    Row("d9-8-4 w14-14-14", "90.4", "18.6", 90_448_986, 18_598_347_520),
    Row("d7-7-7 w16-18-8", "81.7", "20.4", 81_664_218, 20_373_099_520),
    Row("d11-11-11 w18-21-9", "170", "42.7", 169_657_434, 42_728_302_208),
    Row("d27-28-13 w10-14-6", "147", "40.4", 147_291_738, 40_412_983_040),
]
"""Rows whose printed figures are those of the network that they name."""
WRONG = [
    Row("d14-14-7 w5-7-3", "17.7", "5.09", 18_707_930, 5_085_050_752),
    Row("d17-17-8 w7-9-4", "39.3", "9.74", 38_323_482, 10_849_552_896),
    Row("d22-22-11 w8-11-5", "74.8", "20.3", 75_302_490, 20_236_098_688),
    Row("d14-13-11 w16-16-16", "185", "38.8", 279_779_802, 44_828_485_632),
]
"""Rows whose printed parameters are not."""


@pytest.fixture(scope="module")
def original() -> nn.Module:
    with torch.device("meta"):
        return zoo.wrn28_10()


def counted_twice(rule: str) -> int:
    """The parameters of the network that a rule in tenths of WRN-28-10 names, built by hand and counted by two."""
    depths, factors = ([int(term) for term in word[1:].split("-")] for word in rule.split())
    with torch.device("meta"):
        model = zoo.WideResNet(depths, [16 * 2**index * factor for index, factor in enumerate(factors)])
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert counted == parameter_count(model)[""]
    return counted


@pytest.mark.parametrize("row", RIGHT + WRONG, ids=lambda row: row.rule)
def test_every_row_is_a_rule_of_wrn_28_10(row: Row, original: nn.Module) -> None:
    plan = reconfig.plan(original, row.rule)
    assert plan.params == counted_twice(row.rule) == row.params
    assert plan.flops == row.multiply_adds
    printed = f"{row.params / 1e6:#.3g}".rstrip(".")
    assert (printed == row.printed_params) == (row in RIGHT)
    if row in RIGHT:
        assert f"{row.multiply_adds / 1e9:#.3g}".rstrip(".") == row.printed_multiply_adds


def test_the_depth_of_one_row_is_a_misprint() -> None:
    """With six blocks in the last stage, as 2:2:1 has it, both figures are those that are printed."""
    assert f"{counted_twice('d14-13-6 w16-16-16') / 1e6:.3g}" == "185"


@pytest.mark.parametrize("row", RIGHT + WRONG, ids=lambda row: row.rule)
def test_the_docs_have_the_row(row: Row) -> None:
    assert f"| `{row.rule}` | {row.printed_params} | {row.params:,} | {row.printed_multiply_adds} |" in DOCS.read_text()


def test_the_docs_have_every_word_and_every_name() -> None:
    page = DOCS.read_text()
    assert [word.example for word in WORDS.values() if f"`{word.example}`" not in page] == []
    assert [name for name, named in reconfig.NAMED.items() if f"| `{name}` | `{named.rule}` |" not in page] == []


def test_what_the_papers_changed_beside_is_in_the_zoo() -> None:
    factories = {
        word.strip(".,") for named in reconfig.NAMED.values() for word in named.besides.split() if "zoo." in word
    }
    assert len(factories) == 8
    assert all(callable(getattr(zoo, name.removeprefix("zoo."))) for name in factories)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("robustresnet-a1", "d14-14-7 w5-7-3"),
        ("robustresnet-a2", "d17-17-8 w7-9-4"),
        ("robustresnet-a3", "d22-22-11 w8-11-5"),
        ("robustresnet-a4", "d27-28-13 w10-14-6"),
        ("rawrn-70-16", "d30-31-10 c216-432-864"),
        ("raresnet-50", "d5-8-13-1 c288-576-1120-2160"),
        ("raresnet-101", "d7-11-18-1 c336-672-1328-2624"),
        ("rawrn-101-2", "d7-11-18-1 c512-1024-2016-4032"),
    ],
)
def test_names_are_the_published_configurations(name: str, rule: str) -> None:
    assert reconfig.NAMED[name].rule == rule


def test_rawrn_70_16_on_wide_residual_networks() -> None:
    with torch.device("meta"):
        plan = reconfig.plan(zoo.wrn(16, 16), "rawrn-70-16")
        model = zoo.WideResNet((30, 31, 10), (216, 432, 864))
    assert plan.params == sum(p.numel() for p in model.parameters()) == parameter_count(model)[""] == 259_705_050
    assert [stage.width[1] for stage in plan.stages] == [216, 432, 864]


def test_compound_scaling_finds_wrn_a1_at_its_multiply_adds(original: nn.Module) -> None:
    """The paper rounds the widths to whole factors (5, 7, 3); here the channels round, so they come near."""
    plan = reconfig.plan(original, "robustresnet-compound", budget=("flops", 5_090_000_000))
    assert [stage.blocks[1] for stage in plan.stages] == [14, 14, 7]
    assert [stage.width[1] for stage in plan.stages] == pytest.approx([80, 224, 192], rel=0.1)
    assert plan.flops == pytest.approx(5.09e9, rel=1e-3)
    assert "depths to widening factors 35:14.86, asked for 7:3: met to +0.9%" in str(plan)


def test_scaling_by_depth_or_width_alone_finds_the_papers_rows(original: nn.Module) -> None:
    plan = reconfig.plan(original, "robustresnet-depth", budget=("flops", 5_250_000_000))
    assert [stage.blocks[1] for stage in plan.stages] == [5, 5, 2]
    assert plan.params == 24_034_394
    assert "budget 5,250,000,000 flops: met to -0.026%" in str(plan)
    plan = reconfig.plan(original, "robustresnet-width", budget=("flops", 5_710_000_000))
    assert [stage.width[1] for stage in plan.stages] == pytest.approx([176, 416, 384], rel=0.11)
    assert [stage.blocks for stage in plan.stages] == [(4, 4)] * 3
