"""What the harness's tests share. As it lies here, this folder is on the path, and tests can import ``helpers``."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.small_training import small_machine
from torchvision.datasets import CIFAR10

from reconfig.harness.machine.machine import Machine


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data set by the environment, in the cache, or at torchvision's address."""
    monkeypatch.delenv("RECONFIG_DATA", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/none.tar.gz")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return small_machine(tmp_path)
