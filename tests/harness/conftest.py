"""What the harness's tests share. As it lies here, this folder is on the path, and tests can import ``helpers``."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.small_training import small_machine

from reconfig.harness.machine.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return small_machine(tmp_path)
