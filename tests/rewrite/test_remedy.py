"""What a plan says to write in place of a number in the code does what it promises: the width scales."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import reconfig
from reconfig import FrozenKind

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)
        self.fc = nn.Linear({features}, 10)

    def forward(self, x):
        x = self.b(self.a(x).relu()).relu()
        {line}
        return self.fc(x)
"""


def network(folder: Path, line: str, features: int) -> Any:
    file = folder / "net.py"
    file.write_text(SOURCE.format(line=line, features=features))
    linecache.checkcache(str(file))
    names: dict[str, Any] = {"__name__": "net"}
    exec(compile(file.read_text(), str(file), "exec"), names)
    return names["Net"]()


@pytest.fixture(autouse=True)
def _no_stale_lines() -> Iterator[None]:
    yield
    linecache.clearcache()


@pytest.mark.parametrize(
    ("line", "features", "old", "new"),
    [
        ("x = x.view(-1, 16 * 8 * 8)", 1024, "x.view(-1, 16 * 8 * 8)", "x.flatten(1)"),
        ("x = x.reshape(x.shape[0], 1024)", 1024, "x.reshape(x.shape[0], 1024)", "x.flatten(1)"),
        ("x = torch.reshape(x, (-1, 1024))", 1024, "torch.reshape(x, (-1, 1024))", "x.flatten(1)"),
        ("x = x.relu().view((-1, 1024))", 1024, "x.relu().view((-1, 1024))", "x.relu().flatten(1)"),
        ("x = x.view(-1, 16, 64).mean(2)", 16, "x.view(-1, 16, 64)", "x.reshape(x.shape[0], -1, 64)"),
        ("x = x.view(2, 16, 64).mean(2)", 16, "x.view(2, 16, 64)", "x.reshape(2, -1, 64)"),
        ("x = torch.cat(x.split(8, 1)[::-1], 1).mean((2, 3))", 16, "x.split(8, 1)", "x.chunk(2, 1)"),
        ("x = torch.cat(x.split(8, dim=1)[::-1], 1).mean((2, 3))", 16, "x.split(8, dim=1)", "x.chunk(2, dim=1)"),
    ],
)
def test_what_it_says_scales(tmp_path: Path, line: str, features: int, old: str, new: str) -> None:
    example = torch.zeros(2, 3, 32, 32)
    found = reconfig.plan(network(tmp_path, line, features), "10-10", gamma=2, example_input=example)
    (frozen,) = found.frozen
    assert frozen.kind in (FrozenKind.LITERAL, FrozenKind.CALL)
    assert frozen.remedy == f"write {new} in place of {old} in net.py:13"
    assert str(found).endswith(f"; {frozen.remedy}")
    better = reconfig.plan(
        network(tmp_path, line.replace(old, new), features), "10-10", gamma=2, strict=True, example_input=example
    )
    assert better.after["b.weight"] == (32, 16, 3, 3)


@pytest.mark.parametrize(
    ("line", "features"),
    [
        ("x = x.mean((2, 3)) + torch.zeros(16)", 16),  # no other form of the call is known
        ("x = x.view(-1, 16, 64).mean(2).view(-1, 16)", 16),  # two of them in a line
    ],
)
def test_where_nothing_is_known_nothing_is_said(tmp_path: Path, line: str, features: int) -> None:
    example = torch.zeros(2, 3, 32, 32)
    found = reconfig.plan(network(tmp_path, line, features), "10-10", gamma=2, example_input=example)
    assert [frozen.remedy for frozen in found.frozen] == [""]
