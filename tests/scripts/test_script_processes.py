"""Scripts that run in several processes: each of them has the same network."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import torch
from runner import CLIENTS, Runner

pytestmark = pytest.mark.slow


def test_spawned_workers_of_a_loader(runner: Runner) -> None:
    ran = runner.run("workers.py")
    assert ran.code == 0, ran.err
    assert re.findall(r"(\d+) parameters", ran.out) == ["34462"] * 2
    assert ran.err.count("found when") == 1


def test_spawned_processes_that_make_the_network(runner: Runner) -> None:
    ran = runner.run("spawned.py", ".")
    assert ran.code == 0, ran.err
    losses = re.findall(r"rank (\d): loss ([\d.]+), (\d+) parameters", ran.out)
    assert sorted(losses) == [("0", losses[0][1], "34462"), ("1", losses[0][1], "34462")]
    assert "joined" in ran.out
    assert ran.err.count("rewritten where it stands") == 1


def test_spawned_processes_whose_network_cannot_be_rewritten(runner: Runner) -> None:
    ran = runner.run("spawned.py", ".", rule="10-4-4-4-4-2")
    assert ran.code == 1
    assert "loss" not in ran.out
    assert "error: rule" in ran.err


def test_under_torchrun(runner: Runner) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    command += ["-m", "reconfig", "run", "--rule", "10-10-4", str(CLIENTS / "launched.py"), "--own"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, cwd=runner.folder, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr
    ranks = re.findall(r"rank (\d): (loss [\d.]+, 34462 parameters, sum [\d.]+)", ran.stdout)
    assert {rank for rank, _ in ranks} == {"0", "1"}
    assert len({told for _, told in ranks}) == 1
    assert ran.stderr.count("rewritten where it stands") == 1
    state = torch.load(runner.folder / "ddp.pt")
    assert state["module.fc.weight"].shape == (10, 26)
    torch.save(state, runner.folder / "wrapped.pt")


def test_as_the_first_thing_that_a_process_does(runner: Runner) -> None:
    """Torch is imported by the script alone, so what it sets before that holds."""
    script = runner.folder / "sets.py"
    script.write_text(
        "import sys\nassert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        f"sys.path.append({str(CLIENTS)!r})\nimport runpy\nimport torch\n"
        f"runpy.run_path({str(CLIENTS / 'imported.py')!r})\n"
    )
    command = [sys.executable, "-m", "reconfig", "run", "--model", "models.resnet:ResNet", str(script)]
    ran = subprocess.run(command, cwd=runner.folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "34462 parameters" in ran.stdout
    assert "Warning" not in ran.stderr
