"""``reconfig export``: what it writes, what it says, and how it fails."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch

import reconfig
from reconfig import zoo
from reconfig.cli import main

pytest.importorskip("tyro")
NETWORK = "zoo:wrn?depth=10&widen=1"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_code_of_fresh_and_of_trained_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", NETWORK, "10-10-4", "-o", "wrn_r.py", "--gamma", "2"]) == 0
    assert capsys.readouterr().out == (
        "Wrote wrn_r.py and wrn_r.safetensors, which takes (N, 3, H, W)\n"
        "note: the weights are drawn anew: --weights-from FILE takes trained ones\n"
    )
    plan = reconfig.plan(zoo.wrn(10, 1), "10-10-4", gamma=2)
    trained = plan.apply(zoo.wrn(10, 1)).eval()
    torch.save({"state_dict": trained.state_dict()}, "trained.pt")
    Path("plan.json").write_text(plan.to_json())
    assert main(["export", NETWORK, "plan.json", "-o", "wrn_r.py", "--weights-from", "trained.pt"]) == 0
    assert capsys.readouterr().out == "Wrote wrn_r.py and wrn_r.safetensors, which takes (N, 3, H, W)\n"
    images = torch.rand(3, 3, 32, 32)
    assert torch.equal(runpy.run_path("wrn_r.py")["load"]()(images), trained(images))


def test_a_saved_network_has_rule_and_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", NETWORK, "10-10-4", "-o", "saved.safetensors"]) == 0
    capsys.readouterr()
    assert main(["export", NETWORK, "saved.safetensors", "-o", "wrn_r.py", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "files": ["wrn_r.py", "wrn_r.safetensors"],
        "takes": ["(N, 3, H, W)"],
        "notes": [],
    }
    saved = reconfig.load("saved.safetensors", lambda: zoo.wrn(10, 1)).eval()
    images = torch.rand(3, 3, 32, 32)
    assert torch.equal(runpy.run_path("wrn_r.py")["load"]()(images), saved(images))
    assert main(["export", NETWORK, "saved.safetensors", "-o", "wrn_r.py", "--gamma", "2"]) == 1
    assert "saved.safetensors has its plan in it: leave gamma, budget and the like out" in capsys.readouterr().err


def test_what_a_network_prints_is_not_in_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    Path("talks.py").write_text(
        "from reconfig import zoo\n\n\ndef net():\n    print('made')\n    return zoo.wrn(10, 1)\n"
    )
    assert main(["export", "talks.py:net", "10-10-4", "-o", "net.safetensors", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["files"] == ["net.safetensors"]
    assert "made" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["10-10-4", "-o", "wrn.h5"], "wrn.h5 does not say what to write: end it in .py (code), .onnx (onnx)"),
        (["10-10-4", "-o", "wrn.py", "--to", "onnx"], "wrn.py does not end in .onnx: write network.onnx"),
        (["10-10-4", "-o", "no/wrn.py"], "cannot write no/wrn.py: it lies in no, which is no folder"),
        (["10-10-4", "-o", "wrn.py", "--weights-from", "no.pt"], "no.pt is missing"),
        (["no.safetensors", "-o", "wrn.py"], "no.safetensors is missing"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", NETWORK, *arguments]) == 1
    assert message in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_a_network_that_was_saved_without_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    reconfig.save(zoo.wrn(10, 1), "plain.safetensors")
    assert main(["export", NETWORK, "plain.safetensors", "-o", "wrn_r.py"]) == 1
    assert "plain.safetensors was written without a plan" in capsys.readouterr().err


def test_weights_of_another_rule(capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(zoo.wrn(10, 1).state_dict(), "original.pt")
    assert main(["export", NETWORK, "10-10-4", "-o", "wrn_r.py", "--weights-from", "original.pt"]) == 1
    said = capsys.readouterr().err
    assert "original.pt does not hold the weights of this network: " in said
    assert "is (64,) in the file and (26,) in the network" in said
    assert "give the rule or the plan that the network was trained with" in said
