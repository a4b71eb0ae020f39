"""What each command prints and writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import reconfig
import reconfig.networks
from reconfig.cli import main

Captured = pytest.CaptureFixture[str]


def said(capsys: Captured, *arguments: str) -> str:
    assert main(list(arguments)) == 0
    printed = capsys.readouterr()
    assert set(printed.err.split()) <= {"made", "run"}
    return printed.out


def as_json(capsys: Captured, *arguments: str) -> Any:
    return json.loads(said(capsys, *arguments, "--json"))


def loaded(path: str) -> Any:
    return reconfig.load(path, lambda: reconfig.networks.build("net.py:Net"))


def refused(capsys: Captured, *arguments: str) -> str:
    assert main(list(arguments)) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()[-1]


@pytest.mark.usefixtures("folder")
def test_stages(capsys: Captured) -> None:
    found = reconfig.stages(reconfig.networks.build("net.py:Net"))
    capsys.readouterr()
    assert said(capsys, "stages", "net.py:Net") == f"{found}\n"
    record = as_json(capsys, "stages", "net.py:Net", "--input", "3x8x8")
    assert [(stage["width"], stage["resolution"]) for stage in record["stages"]] == [(16, [8, 8]), (20, [4, 4])]
    message = refused(capsys, "stages", "net.py:Net", "--input", "4x8x8")
    assert message.endswith("; here that is --input 3x32x32 (channels, height, width)")
    assert refused(capsys, "stages", "net.py:Nett") == (
        "error: net.py has no 'Nett'; the nearest are Net: write 'net.py:Net'"
    )


@pytest.mark.usefixtures("folder")
def test_count(capsys: Captured) -> None:
    counted = reconfig.count(reconfig.networks.build("net.py:Net"))
    capsys.readouterr()
    assert said(capsys, "count", "net.py:Net") == f"{counted}\n"
    record = as_json(capsys, "count", "net.py:Net")
    assert record["params"] == counted.params == sum(row["params"] for row in record["stages"])


@pytest.mark.usefixtures("folder")
def test_plan(capsys: Captured) -> None:
    plan = reconfig.plan(reconfig.networks.build("net.py:Net"), "10-4", gamma=2)
    capsys.readouterr()
    assert said(capsys, "plan", "net.py:Net", "10-4", "--gamma", "2", "-o", "plan.json") == f"{plan}\n"
    assert reconfig.Plan.from_json(Path("plan.json").read_text()) == plan
    assert reconfig.Plan.from_json(json.dumps(as_json(capsys, "plan", "net.py:Net", "plan.json"))) == plan


@pytest.mark.usefixtures("folder")
def test_plan_prints_remedies(capsys: Captured) -> None:
    text = said(capsys, "plan", "net.py:Stuck", "10-4", "--input", "3x32x32")
    assert "; write x.flatten(1) in place of x.view(-1, 20 * 16 * 16) in net.py:24\n" in text
    assert "; write x.flatten(1) in place of " in refused(
        capsys, "plan", "net.py:Stuck", "10-4", "--input", "3x32x32", "--strict"
    )


@pytest.mark.usefixtures("folder")
def test_apply(capsys: Captured) -> None:
    pytest.importorskip("safetensors")
    text = said(capsys, "apply", "net.py:Net", "10-4", "--out", "net.safetensors")
    call = text.splitlines()[-1].strip()
    assert call == "reconfig.load('net.safetensors', lambda: reconfig.networks.build('net.py:Net'))"
    model = eval(call, {"reconfig": reconfig})
    assert model.fc.in_features == 8
    capsys.readouterr()
    record = as_json(capsys, "apply", "net.py:Net", "10-4", "-o", "again.safetensors")
    assert (record["written"], record["plan"]["rule"]) == ("again.safetensors", "10-4")
    said(capsys, "apply", "net.py:Net", "10-4", "-o", "other.safetensors", "--seed", "1")
    again, other = (loaded(f"{name}.safetensors") for name in ("again", "other"))
    assert torch.equal(again.fc.weight, model.fc.weight)
    assert not torch.equal(other.fc.weight, model.fc.weight)


@pytest.mark.usefixtures("folder")
def test_apply_takes_a_stored_plan_and_weights(capsys: Captured) -> None:
    pytest.importorskip("safetensors")
    said(capsys, "plan", "net.py:Net", "10-4", "--weights", "inherit", "-o", "plan.json")
    said(capsys, "apply", "net.py:Net", "plan.json", "-o", "net.safetensors")
    model = loaded("net.safetensors")
    torch.manual_seed(0)
    original: Any = reconfig.networks.build("net.py:Net")
    assert torch.equal(model.a.weight, original.a.weight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("plan m r -o plan.txt", "error: plan.txt has to end in .json: write plan.json"),
        ("plan m r -o no/plan.json", "error: cannot write no/plan.json: there is no folder no; make it first"),
        ("draw m r -o picture.jpg", "error: picture.jpg has to end in .svg, .png or .html: write picture.svg"),
        ("draw m r -o picture", "error: picture has to end in .svg, .png or .html: write picture.svg"),
        ("apply m r -o net.pt", "error: net.pt has to end in .safetensors: write net.safetensors"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_file_of_another_kind_is_refused_at_once(arguments: str, message: str, capsys: Captured) -> None:
    assert refused(capsys, *arguments.split()) == message


@pytest.mark.parametrize("command", ["plan", "draw"])
def test_a_file_that_cannot_be_written_leaves_nothing(command: str, folder: Path, capsys: Captured) -> None:
    suffix = {"plan": ".json", "draw": ".svg"}[command]
    (folder / f"file{suffix}").mkdir()
    before = sorted(folder.iterdir())
    message = refused(capsys, command, "net.py:Net", "10-4", "-o", f"file{suffix}")
    assert message == f"error: cannot write file{suffix}: Is a directory"
    assert [path for path in sorted(folder.iterdir()) if path.name != "__pycache__"] == before


def test_rules(capsys: Captured) -> None:
    text = said(capsys, "rules")
    record = as_json(capsys, "rules")
    for name, named in reconfig.NAMED.items():
        assert re.search(rf"(?m)^  {re.escape(name)}\n    {re.escape(named.rule)}\n", text)
        assert f"source: {named.citation}\n" in text
        assert record["named"][name]["rule"] == named.rule
        assert record["named"][name]["citation"] == named.citation
    for example, word in record["words"].items():
        assert f"\n  {example}\n    {word['meaning']}\n    source: {word['source']}\n" in text
    assert {"w10-10-4", "d9-7-1", "growth"} <= record["words"].keys()


def test_every_example_of_a_word_is_a_rule_or_part_of_one(capsys: Captured) -> None:
    aside = {"growth": "10-10-4", "keep=group-width": "10-10-4", "multiple=8": "10-10-4", "d:w=7:3": "d2:2:1 w2:2.5:1"}
    for example in as_json(capsys, "rules")["words"]:
        assert reconfig.Rule.parse(f"{aside.get(example, '')} {example}")
