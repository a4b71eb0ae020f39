"""A folder with a module of networks in it, which is the working directory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

NETS = """\
from torch import nn


class Net(nn.Module):
    def __init__(self, width=8, *, classes=10):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.classes = classes

    class Inner(nn.Conv2d):
        def __init__(self):
            super().__init__(3, 8, 3)


def broken(width=8):
    raise RuntimeError("no such width")


def deep():
    return nn.Conv2d(3, 8, 3, groups=5)


def needs(width, depth, kind="a"):
    return nn.Conv2d(3, width, depth)


def hands_on(**arguments):
    return Net(**arguments)


def linear(**arguments):
    return nn.Linear(**arguments)


def opaque(**arguments):
    return (lambda: None)(**arguments)


def ends():
    raise SystemExit("usage: nets")


def nothing():
    return None


made = Net()
convolution = nn.Conv2d(3, 8, 3)
number = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    before = dict(sys.modules)
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in sys.modules.keys() - before.keys():
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]
