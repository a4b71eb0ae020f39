"""What all tests share: seeds, threads, and where the real images are."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
MAY_BE_MISSING = {
    *("wandb", "mlflow", "trackio"),
    *("transformers", "segmentation_models_pytorch", "lightning", "pytorch_lightning", "mmengine", "ultralytics"),
    *("diffusers", "monai", "spandrel", "torchaudio"),
}
"""What ``make test-all`` alone installs; all else that a test imports is there after ``make test``'s own install."""


def pytest_configure() -> None:
    # Under pytest-xdist every worker would otherwise take all cores for itself.
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))


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


def missing_oracles(reports: Iterable[Any]) -> set[str]:
    """The modules for which these reports of skipped tests say that they could not be imported, and that must be."""
    found = {name for report in reports for name in re.findall(r"could not import '(\w+)", str(report.longrepr))}
    return found - MAY_BE_MISSING


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In continuous integration, an oracle that every install brings has to be there: its tests must not skip."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    missing = missing_oracles(reporter.stats.get("skipped", [])) if reporter and os.environ.get("CI") else set()
    if missing:
        reporter.write_line(f"\nerror: {', '.join(sorted(missing))} could not be imported: pip install -e '.[all]'")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
