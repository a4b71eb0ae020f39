"""What all tests share: seeds, threads, and where the real images are."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    # Under pytest-xdist every worker would otherwise take all cores for itself.
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test starts from the same random state, whichever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def cifar_path() -> Path:
    """The folder of the real CIFAR-10, in the hub's or torchvision's layout; skips where there is none."""
    named = os.environ.get("RECONFIG_DATA")
    path = Path(named) if named else ROOT.parent / "shared" / "data" / "cifar10"
    if any(path.glob("train-*.parquet")) or (path / "cifar-10-batches-py").is_dir():
        return path
    looked = f"RECONFIG_DATA={named}" if named else f"RECONFIG_DATA (not set) and {path}"
    pytest.skip(f"no CIFAR-10 at {looked}")
