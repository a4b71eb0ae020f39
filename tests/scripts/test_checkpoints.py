"""What a script saves loads in its evaluation script, and weights that it loads are never lost without a word."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import pytest
import torch
from runner import CLIENTS, Runner


@pytest.mark.slow
def test_checkpoints_load_again(runner: Runner) -> None:
    saved = runner.run("saves.py")
    assert saved.code == 0, saved.err
    for words in (("state.pt",), ("state.pt", "--inside"), ("wrapped.pt",), ("whole.pt",)):
        ran = runner.run("evaluates.py", *words)
        assert (ran.code, ran.out) == (0, f"evaluated, {saved.parameters} parameters\n"), ran.err
    assert "ResNet was rewritten before it was saved (10-10-4, gamma 1), and is taken as it is" in ran.err


@pytest.fixture
def original(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> Callable[[], torch.nn.Module]:
    """Weights of the network as it is, and what it gives with them, in the working directory."""
    monkeypatch.syspath_prepend(CLIENTS)
    make = importlib.import_module("models").resnet8
    net = make().eval()
    torch.save(net.state_dict(), runner.folder / "original.pt")
    torch.save(net, runner.folder / "whole.pt")
    with torch.no_grad():
        torch.save(net(importlib.import_module("steps").batch()[0]), runner.folder / "original_scores.pt")
    return make


@pytest.mark.slow
@pytest.mark.usefixtures("original")
def test_loaded_weights_are_inherited_and_never_thrown_away(runner: Runner) -> None:
    fresh = runner.run("pretrained.py")
    assert (fresh.code, fresh.out) == (1, "")
    assert f"got weights at {CLIENTS}/pretrained.py:13, before it could be rewritten" in fresh.err
    assert "pass --weights inherit" in fresh.err
    wider = runner.run("--weights", "inherit", "--gamma", "2", "pretrained.py", rule="10-10-10")
    assert wider.code == 0, wider.err
    assert "same True" in wider.out  # copies of channels keep the function
    narrower = runner.run("--weights", "inherit", "pretrained.py")
    assert (narrower.code, narrower.parameters) == (0, 34_462), narrower.err
    whole = runner.run("pretrained.py", "--whole")
    assert (whole.code, whole.out) == (1, "")
    assert "got weights when it was copied or loaded from a file" in whole.err


@pytest.mark.slow
@pytest.mark.usefixtures("original")
def test_weights_of_the_original_for_a_network_that_was_rewritten(runner: Runner) -> None:
    late = runner.run("--weights", "inherit", "pretrained.py", "--late")
    assert (late.code, late.out) == (1, "")
    assert f"the script loads weights of the original network at {CLIENTS}/pretrained.py:13, after" in late.err
    assert "size mismatch" not in late.err
