"""Any network by its name, through a whole run and what comes after it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from helpers import own_networks
from helpers.tiny_run import ROOT, environment

import reconfig
from benchmarks import run as command_line
from reconfig.harness import files, load_network
from reconfig.harness.files import CheckpointError
from reconfig.harness.options import AttackOptions, ExportOptions
from reconfig.harness.studies import attack_later, export

FLAGS = [
    *("--data", "digits", "--data.train-limit", "80", "--data.test-limit", "20", "--data.hold-out", "16"),
    *("--train.batch", "16", "--train.epochs", "2", "--train.attack.steps", "1", "--evaluate.attacks", "fgsm"),
    *("--compute.device", "cpu", "--tracker", "none", "--save-every", "0"),
]


def arguments(model: str, rule: str, out: Path) -> list[str]:
    return ["any", "--original", model, "--rule", rule, *FLAGS, "--out", str(out)]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_networks.write(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def finished(own: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a network in a file, named from the file's own folder."""
    out = tmp_path_factory.mktemp("runs") / "own"
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), *arguments("own_net.py:Net?width=6", "10-4", out)]
    done = subprocess.run(command, env=environment(), cwd=own.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_a_run_says_which_network_it_was(own: Path, finished: Path) -> None:
    config = files.read_json(finished / "config.json")
    assert config["original"] == {"model": f"{own}:Net?width=6", "rule": None, "gamma": 1.0} | dict.fromkeys(
        ("budget", "weights")
    )
    assert config["variant"]["rule"] == "10-4"
    assert list(config["code"]) == [f"{own}:Net?width=6"]
    assert "own_net.py:Net?width=6 10-4 against own_net.py:Net?width=6" in (finished / "report.html").read_text()
    assert "own\\_net.py:Net?width=6" in (finished / "table.tex").read_text()


def test_its_checkpoints_are_attacked_and_exported_from_anywhere(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    AcceleratorState._reset_state(reset_partial_state=True)
    lines = attack_later.run(AttackOptions(run / "variant", attacks=("pgd20",), images=10))
    assert "pgd20" in lines[0]
    wrote, how = export.run(ExportOptions(run, tmp_path / "own.safetensors"))
    assert wrote == f"Wrote {tmp_path / 'own.safetensors'}"
    network = eval(how.removeprefix("Read it with "), {"reconfig": reconfig})
    trained = load_network(run / "variant" / "best.pt", 10)
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in network.state_dict().items())


def test_a_network_whose_code_changed_is_refused(
    own: Path, finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = own.with_name("layers.py")
    kept = layers.read_text()
    layers.write_text(kept.replace("nn.ReLU()", "nn.SiLU()"))
    try:
        AcceleratorState._reset_state(reset_partial_state=True)
        monkeypatch.setattr(sys, "argv", ["run.py", *arguments(f"{own}:Net?width=6", "10-4", finished), "--resume"])
        assert command_line.main() == 1
        printed = capsys.readouterr().err
        assert f"the code of {own}:Net?width=6 is not what it was when {finished} was begun" in printed
        with pytest.raises(CheckpointError, match="Put the old code back"):
            load_network(finished / "original" / "last.pt", 10)
    finally:
        layers.write_text(kept)
    load_network(finished / "original" / "last.pt", 10)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--original", "resnet10t"], "'resnet10t' does not say where resnet10t comes from: write timm:resnet10t"),
        (["--original", "own_net.py:Net"], "there is no file "),
        (["--original", "zoo:vgg11", "--rule", "10-9-8-7-6-4"], "stages"),
        (
            ["--original", "zoo:vgg11", "--rule", "10-10-10"],
            "zoo:vgg11 10-10-10 is zoo:vgg11 itself: with images of 32x32",
        ),
        (["--original", "zoo:vgg11?num_classes=3"], "answers with [N, 3], and the data has 10 classes"),
    ],
)
def test_a_network_that_cannot_be_had_is_refused_before_anything_is_written(
    flags: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run.py", "any", *flags, *FLAGS, "--out", str(tmp_path / "out")])
    assert command_line.main() == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("own_net.py:Net?width=6", ()),
        ("own_net.py:Net?width=6", ("--data.normalise", "data", "--data.crop-area", "0.08", "1")),
        ("timm:resnet10t", ()),
        ("torchvision:mobilenet_v3_small", ()),
    ],
)
def test_a_killed_run_goes_on_to_the_same_weights(model: str, more: tuple[str, ...], own: Path, tmp_path: Path) -> None:
    rule = "10-4" if "own" in model else "10-10-4"

    def command(out: str, *flags: str) -> list[str]:
        run = arguments(model, rule, tmp_path / out)
        return [sys.executable, str(ROOT / "benchmarks" / "run.py"), *run, *more, *flags]

    def state(out: str, role: str, checkpoint: str) -> dict[str, object]:
        found = files.load_checkpoint(tmp_path / out / role / f"{checkpoint}.pt")
        return found["model"] | {f"momentum {key}": value for key, value in found["optimizer"]["state"].items()}

    subprocess.run(command("whole"), env=environment(), cwd=own.parent, check=True, capture_output=True)
    for role in ("original", "variant"):
        going = subprocess.Popen(command("killed", "--resume"), env=environment(), cwd=own.parent)
        while not (tmp_path / "killed" / role / "last.pt").exists():
            assert going.poll() is None
            time.sleep(0.01)
        os.kill(going.pid, signal.SIGKILL)
        going.wait()
    subprocess.run(command("killed", "--resume"), env=environment(), cwd=own.parent, check=True, capture_output=True)
    for role, checkpoint in product(("original", "variant"), ("last", "best")):
        whole, killed = state("whole", role, checkpoint), state("killed", role, checkpoint)
        assert whole.keys() == killed.keys()
        for name, value in whole.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, killed[name]), name  # type: ignore[arg-type]
            else:
                assert torch.equal(value["momentum_buffer"], killed[name]["momentum_buffer"]), name  # type: ignore[index]
