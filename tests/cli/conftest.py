"""A small network in a file of the working directory, which says something whenever it is made or run."""

from __future__ import annotations

from pathlib import Path

import pytest

NET = """\
from torch import nn


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        print("made")
        self.a = nn.Conv2d(3, width, 3, padding=1)
        self.b = nn.Conv2d(width, 20, 3, padding=1, stride=2)
        self.fc = nn.Linear(20, 10)

    def forward(self, x):
        print("run")
        return self.fc(self.b(self.a(x).relu()).relu().mean((2, 3)))


class Stuck(Net):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(20 * 16 * 16, 10)

    def forward(self, x):
        x = self.b(self.a(x).relu()).relu()
        return self.fc(x.view(-1, 20 * 16 * 16))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path
