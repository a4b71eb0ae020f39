"""One process that has torch already, from which the tests' command lines are forked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from runner import HERE, Runner


@pytest.fixture(scope="session")
def _server() -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "forks.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def runner(_server: subprocess.Popen[str], tmp_path: Path) -> Runner:
    return Runner(_server, tmp_path)
