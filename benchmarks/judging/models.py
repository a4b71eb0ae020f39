"""The models of the lists zoo.json and beyond.json, and how each is built."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from reconfig.planning.outputs import Outputs

FOLDER = Path(__file__).resolve().parent.parent
List = Literal["zoo", "beyond"]


@dataclass(frozen=True)
class Entry:
    """One model of a list."""

    name: str
    source: str
    family: str
    kind: str
    input_size: int
    factory: str = ""
    """What makes the model, ``module:name``; where left out, it is a classifier that its source knows by its name."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the factory; one that has a ``call`` (``module:name``) is made by it, of the other items."""
    shape: tuple[int, ...] = ()
    """Of one example; an image of three channels where left out."""
    loss: str = ""
    """What it is trained on, one of ``losses.LOSSES``; the mean of its class scores where left out."""
    outputs: Outputs = "keep"
    """What becomes of feature maps that it returns, where they are all that it is for."""

    def examples(self, number: int) -> Tensor:
        """So many random inputs."""
        return torch.rand(number, *(self.shape or (3, self.input_size, self.input_size)))


def entries(only: Sequence[str] = (), source: str = "all", of: List = "zoo") -> list[Entry]:
    """The models of a list, or those asked for.

    Raises:
        SystemExit: where a name is not in the list, or none of them comes from ``source``.
    """
    listed = [
        Entry(**{**item, "shape": tuple(item.get("shape", ()))})
        for item in json.loads((FOLDER / f"{of}.json").read_text())
    ]
    return choose(listed, only, source, f"{of}.json")


def choose(listed: Sequence[Entry], only: Sequence[str], source: str, where: str) -> list[Entry]:
    """Those of a list that have these names (all without one) and come from ``source``.

    Raises:
        SystemExit: where a name is not in the list, or none of them comes from ``source``.
    """
    unknown = set(only) - {entry.name for entry in listed}
    if unknown:
        raise SystemExit(f"error: not in {where}: {', '.join(sorted(unknown))}")
    chosen = [e for e in listed if (not only or e.name in only) and source in ("all", e.source)]
    if not chosen:
        raise SystemExit(f"error: none of {', '.join(only)} comes from {source}: leave --source out, or name others")
    return chosen


def build(entry: Entry) -> nn.Module:
    """The model as its library builds it, untrained."""
    torch.manual_seed(0)
    if entry.factory:
        model: nn.Module = _made(entry.factory, entry.options)
        return model
    if entry.source == "timm":
        import timm

        return timm.create_model(entry.name, pretrained=False)
    import torchvision

    slow = {"init_weights": False} if entry.name in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(entry.name, weights=None, **slow)


def _made(factory: str, options: Mapping[str, Any]) -> Any:
    """What a factory makes of its arguments."""
    module, _, name = factory.partition(":")
    given = {
        key: _made(value["call"], {name: item for name, item in value.items() if name != "call"})
        if isinstance(value, Mapping) and "call" in value
        else value
        for key, value in options.items()
    }
    return getattr(import_module(module), name)(**given)
