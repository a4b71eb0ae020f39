"""Networks of one's own, in files: for the tests of any network in the harness."""

from __future__ import annotations

from pathlib import Path

LAYERS = """
from torch import nn


def block(before, after):
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2))
"""
NET = """
import torch
from torch import nn

from layers import block


class Net(nn.Module):
    def __init__(self, num_classes: int = 7, width: int = 8) -> None:
        super().__init__()
        self.features = nn.Sequential(block(3, width), block(width, 2 * width), nn.AdaptiveAvgPool2d(1))
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, x):
        return self.head(self.drop(self.features(x).flatten(1)))


class Named(Net):
    def __init__(self, n_classes: int = 7) -> None:
        super().__init__(n_classes)


class Fixed(Net):
    def __init__(self, width: int = 8) -> None:
        super().__init__(10, width)


class Computing(Net):
    def __init__(self, num_classes: int = 7) -> None:
        super().__init__(num_classes)
        self.rates = torch.linspace(0, 0.1, 4).tolist()  # not on the meta device


class Pair(Net):
    def forward(self, x):
        return super().forward(x), x


def handed(**kwargs):
    return Net(**kwargs)


def refusing(**kwargs):
    return Fixed(**kwargs)
"""


def write(folder: Path) -> Path:
    """The file of the networks, with what it imports beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "layers.py").write_text(LAYERS)
    path = folder / "own_net.py"
    path.write_text(NET)
    return path
