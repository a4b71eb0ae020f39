"""Runs ``reconfig`` on the scripts in ``clients``."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

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

    def __call__(self, *words: object, folder: Path | None = None) -> Ran:
        number = next(self._number)
        out, err = self.folder / f"out{number}", self.folder / f"err{number}"
        order: dict[str, Any] = {
            "words": [str(word) for word in words],
            "folder": str(folder or self.folder),
            "out": str(out),
            "err": str(err),
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(order), file=self._server.stdin, flush=True)
        code = int(self._server.stdout.readline())
        return Ran(code, out.read_text(), err.read_text())

    def run(self, *words: object, rule: str = "10-10-4", folder: Path | None = None) -> Ran:
        """``reconfig run --rule ... words``; a client's name stands for its file."""
        files = {path.name: path for path in CLIENTS.glob("*.py")}
        return self("run", "--rule", rule, *(files.get(str(word), word) for word in words), folder=folder)
