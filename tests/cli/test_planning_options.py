"""Options of planning as text, and rules and stored plans in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import reconfig
from reconfig import networks
from reconfig.cli import main
from reconfig.cli.options import Planning, example
from reconfig.cli.values import read_budget, read_shapes, read_stages
from reconfig.errors import PlanError, ReconfigError, RuleError


@pytest.mark.parametrize(
    ("text", "shapes"), [("3x32x32", ((3, 32, 32),)), ("7", ((7,),)), ("3x8x8,5", ((3, 8, 8), (5,)))]
)
def test_shapes(text: str, shapes: Any) -> None:
    assert read_shapes(text) == shapes


@pytest.mark.parametrize("text", ["", "3x", "x3", "3x0x3", "3,,3", "3x-1", "3 x 3", "a"])
def test_what_is_no_shape(text: str) -> None:
    with pytest.raises(ValueError, match=r"an input reads like 3x32x32 \(channels, height, width; no batch\), not '"):
        read_shapes(text)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("params", "params"),
        ("flops", "flops"),
        ("5_000_000", 5_000_000),
        ("5e6", 5_000_000),
        ("flops:1e9", ("flops", 1_000_000_000)),
        ("params:7", ("params", 7)),
    ],
)
def test_budgets(text: str, budget: Any) -> None:
    assert read_budget(text) == budget


@pytest.mark.parametrize("text", ["", "param", "0", "-3", "1.5", "nan", "inf", "flops:", "flop:1e9", "1e9:flops"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(
        ValueError, match="a budget is params, flops, a number of parameters, or as in flops:1e9, not '"
    ):
        read_budget(text)


def test_stages() -> None:
    assert read_stages("layer1=1,layer2.*=2") == {"layer1": 1, "layer2.*": 2}


@pytest.mark.parametrize("text", ["", "layer1", "layer1=", "=1", "layer1=x", "layer1=1,,layer2=2"])
def test_what_is_no_stages(text: str) -> None:
    with pytest.raises(ValueError, match=r"stages read like layer1=1,layer2=2 \(1 for the first\), not '"):
        read_stages(text)


def test_an_example_has_a_batch_and_the_models_dtype() -> None:
    (tensor,) = example(nn.Conv2d(3, 8, 3).double(), ((3, 5, 7),)) or ()
    assert (tensor.shape, tensor.dtype, tensor.device.type) == ((1, 3, 5, 7), torch.float64, "meta")
    assert example(nn.Conv2d(3, 8, 3), None) is None


def test_options_reach_the_plan(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = "--gamma 2 --input 3x8x8 --stages a=1,b=2 --weights inherit --outputs scale --strict -o plan.json"
    assert main(["plan", "net.py:Net", "10-4", *options.split()]) == 0
    plan = reconfig.Plan.from_json((folder / "plan.json").read_text())
    assert (plan.gamma, plan.weights, plan.inputs[0][0][1:]) == (2, "inherit", (3, 8, 8))
    assert [stage.width for stage in plan.stages] == [(16, 32), (20, 16)]
    assert main(["plan", "net.py:Net", "10-4", "--budget", "params", "--input", "3x8x8"]) == 0
    assert "met to" in capsys.readouterr().out


def refused(call: Any, kind: type[ReconfigError]) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    return str(caught.value)


def test_a_stored_plan_stands_where_a_rule_does(folder: Path) -> None:
    model = networks.build("net.py:Net")
    plan = Planning(gamma=2.0).plan(model, "10-4")
    for name in ("plan.json", "stored"):
        (folder / name).write_text(plan.to_json())
        assert Planning().plan(model, name) == plan
    assert refused(lambda: Planning(gamma=2.0).plan(model, "plan.json"), PlanError) == (
        "plan.json is a stored plan, which has its gamma, budget, input, stages, outputs, weights and strictness "
        "in it: leave these options out, or give a rule"
    )
    assert refused(lambda: Planning().plan(networks.build("net.py:Net?width=8"), "plan.json"), PlanError).startswith(
        "this plan was made for another architecture (Net): 'a.bias' is (8,) in the model and (16,) in the plan; "
    )
    assert refused(lambda: Planning().plan(model, "plam.json"), PlanError) == (
        "there is no plan plam.json: the nearest is plan.json"
    )
    assert refused(lambda: Planning().plan(model, "else/where.json"), PlanError) == (
        "there is no plan else/where.json: `reconfig plan MODEL RULE -o else/where.json` makes it"
    )
    assert refused(lambda: Planning().plan(model, "net.py"), PlanError).startswith(
        "net.py: this is not a plan written by Plan.to_json(): "
    )
    (folder / "bytes.json").write_bytes(b"\xff\xfe")
    assert refused(lambda: Planning().plan(model, "bytes.json"), PlanError).startswith(
        "cannot read a plan from bytes.json: 'utf-8' codec can't decode byte 0xff"
    )


def test_a_rule_is_a_rule_although_a_file_has_its_name(folder: Path) -> None:
    (folder / "10-4").write_text("my notes")
    assert Planning().plan(networks.build("net.py:Net"), "10-4").rule == "10-4"


def test_what_is_no_rule_is_found_before_the_network_is_made(folder: Path) -> None:
    assert refused(lambda: Planning().network_and_plan("nowhere.py:Net", "huang2012"), RuleError).endswith(
        "; did you mean 'huang2021'? `reconfig rules` lists all"
    )
    assert "did you mean" not in refused(lambda: Planning().network_and_plan("nowhere.py:Net", "wide"), RuleError)
