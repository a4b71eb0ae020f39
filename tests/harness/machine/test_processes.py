"""Several processes give what one gives: the same losses, weights and accuracies."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_run import HELPERS, environment
from torch import nn

from reconfig.harness.machine.synced_batch_norm import SyncedBatchNorm, synchronise


def trained(out: Path, case: str, processes: int) -> dict[str, Any]:
    """What helpers/processes.py found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_port", str(port)]
    command = [sys.executable, *(launcher if processes > 1 else []), str(HELPERS / "processes.py")]
    done = subprocess.run([*command, str(out), case], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((out / "found.json").read_text())
    assert found["processes"] == processes
    assert found["agree"]
    return found


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    one, two = (trained(tmp_path / str(count), "small", count) for count in (1, 2))
    assert len(one["losses"]) == 20
    assert two["synchronised"] == 20  # once a step: not for the attack, nor for the perturbation of weights
    assert one["losses"] == pytest.approx(two["losses"], abs=1e-5)
    assert one["weights"] == pytest.approx(two["weights"], abs=1e-6)
    for first, second in zip(one["history"], two["history"], strict=True):
        assert first["clean"] == second["clean"]
        assert first["train_robust"] == second["train_robust"]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_processes_train_as_one_on_digits(tmp_path: Path) -> None:
    two = trained(tmp_path / "two", "digits0", 2)
    ones = [trained(tmp_path / f"one{seed}", f"digits{seed}", 1) for seed in range(3)]
    assert ones[0]["losses"][:20] == pytest.approx(two["losses"][:20], abs=1e-4)
    for measure in ("clean", "pgd20"):
        seeds = [one["history"][-1][measure] for one in ones]
        # One image of the 94 is 1.1 points.
        spread = max(2 * statistics.stdev(seeds), 1.1)
        assert abs(two["history"][-1][measure] - seeds[0]) <= spread


@pytest.fixture
def alone() -> Any:
    """A process group of this process alone."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("plain", "shape"),
    [
        (nn.BatchNorm2d(3), (4, 3, 5, 5)),
        (nn.BatchNorm1d(3, momentum=None), (6, 3)),
        (nn.BatchNorm2d(3, affine=False, eps=1e-3, momentum=0.3), (2, 3, 4, 4)),
        (nn.BatchNorm2d(3, track_running_stats=False), (2, 3, 4, 4)),
    ],
    ids=["2d", "1d", "without factors", "without running statistics"],
)
def test_shared_batch_norm_is_batch_norm(plain: nn.Module, shape: tuple[int, ...], alone: None) -> None:
    torch.manual_seed(0)
    plain = plain.double()
    for parameter in plain.parameters():
        nn.init.normal_(parameter)
    model = nn.Sequential(nn.Identity(), plain)
    reference = type(plain)(3, plain.eps, plain.momentum, plain.affine, plain.track_running_stats).double()
    reference.load_state_dict(plain.state_dict())
    names = list(model.state_dict())
    assert synchronise(model, torch.device("cpu")) is model
    assert isinstance(model[1], SyncedBatchNorm)
    assert list(model.state_dict()) == names
    for _ in range(2):
        given = torch.randn(shape, dtype=torch.float64)
        one, other = given.clone().requires_grad_(), given.clone().requires_grad_()
        first, second = model(one), reference(other)
        assert torch.allclose(first, second, rtol=0, atol=1e-10)
        (first**3).sum().backward()
        (second**3).sum().backward()
        assert torch.allclose(one.grad, other.grad, rtol=0, atol=1e-8)
    for name, value in reference.state_dict().items():
        assert torch.allclose(model.state_dict()["1." + name].double(), value.double(), atol=1e-12), name
    for own, other in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(own.grad, other.grad, atol=1e-8)
    given = torch.randn(shape, dtype=torch.float64)
    assert torch.allclose(model.eval()(given), reference.eval()(given), rtol=0, atol=1e-10)


def test_a_lone_batch_norm_and_low_precision(alone: None) -> None:
    norm = synchronise(nn.BatchNorm2d(3), torch.device("cpu"))
    assert isinstance(norm, SyncedBatchNorm)
    assert synchronise(norm, torch.device("cpu")) is not None
    images = torch.randn(8, 3, 6, 6)
    low = norm(images.bfloat16())
    assert low.dtype == torch.bfloat16
    assert torch.allclose(low.float(), nn.BatchNorm2d(3)(images), atol=0.05)
