"""The models of zoo.json, and how each is built."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

LIST = Path(__file__).resolve().parent.parent / "zoo.json"


@dataclass(frozen=True)
class Entry:
    """One model of the list."""

    name: str
    source: str
    family: str
    kind: str
    input_size: int


def entries(only: Sequence[str] = (), source: str = "all") -> list[Entry]:
    """The models of zoo.json, or those asked for.

    Raises:
        SystemExit: where a name is not in the list, or none of them comes from ``source``.
    """
    listed = [Entry(**item) for item in json.loads(LIST.read_text())]
    unknown = set(only) - {entry.name for entry in listed}
    if unknown:
        raise SystemExit(f"error: not in zoo.json: {', '.join(sorted(unknown))}")
    chosen = [e for e in listed if (not only or e.name in only) and source in ("all", e.source)]
    if not chosen:
        raise SystemExit(f"error: none of {', '.join(only)} comes from {source}: leave --source out, or name others")
    return chosen


def build(entry: Entry) -> nn.Module:
    """The model as its library builds it, untrained."""
    torch.manual_seed(0)
    if entry.source == "timm":
        import timm

        return timm.create_model(entry.name, pretrained=False)
    import torchvision

    slow = {"init_weights": False} if entry.name in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(entry.name, weights=None, **slow)
