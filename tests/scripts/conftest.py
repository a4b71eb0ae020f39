"""Ways to run ``reconfig run`` on the scripts in ``clients``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
CLIENTS = HERE / "clients"


@dataclass(frozen=True)
class Ran:
    """What a command line gave."""

    code: int
    out: str
    err: str

    @property
    def loss(self) -> float:
        return float(re.findall(r"loss ([\d.]+)", self.out)[-1])

    @property
    def parameters(self) -> int:
        return int(re.findall(r"(\d+) parameters", self.out)[-1])


class Runner:
    """Runs ``reconfig`` with the given words, in a working directory of the test's own."""

    def __init__(self, server: subprocess.Popen[str], folder: Path) -> None:
        self._server, self.folder = server, folder
        self._number = count()

    def __call__(self, *words: object, environment: dict[str, str] | None = None) -> Ran:
        number = next(self._number)
        out, err = self.folder / f"out{number}", self.folder / f"err{number}"
        order: dict[str, Any] = {
            "words": [str(word) for word in words],
            "folder": str(self.folder),
            "environment": environment or {},
            "out": str(out),
            "err": str(err),
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(order), file=self._server.stdin, flush=True)
        code = int(self._server.stdout.readline())
        return Ran(code, out.read_text(), err.read_text())

    def run(self, *words: object, rule: str = "10-10-4") -> Ran:
        """``reconfig run --rule ... words``; a client's name stands for its file."""
        files = {path.name: path for path in CLIENTS.glob("*.py")}
        return self("run", "--rule", rule, *(files.get(str(word), word) for word in words))


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
