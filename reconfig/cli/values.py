"""Options of one word: an input's shape, a budget, stages, and how each is read and shown."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from tyro.constructors import PrimitiveConstructorSpec

if TYPE_CHECKING:
    from reconfig.planning.budget import Budget

_Read = TypeVar("_Read")
Shapes = tuple[tuple[int, ...], ...]
"""(channels, height, width) of each thing that a network takes, without the batch."""


def one_word(metavar: str, read: Callable[[str], _Read], show: Callable[[Any], str]) -> PrimitiveConstructorSpec[_Read]:
    """An option of one word; what ``read`` raises as a ValueError is bad usage."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: read(words[0]),
        is_instance=lambda _: True,
        str_from_instance=lambda value: [show(value)],
    )


def read_shapes(text: str) -> Shapes:
    """ "3x32x32" as ((3, 32, 32),); several inputs with commas between."""
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*(,[1-9]\d*(x[1-9]\d*)*)*", text):
        raise ValueError(f"an input reads like 3x32x32 (channels, height, width; no batch), not {text!r}")
    return tuple(tuple(map(int, shape.split("x"))) for shape in text.split(","))


def show_shapes(shapes: Shapes | None) -> str:
    """What ``read_shapes`` reads; None is tried out."""
    return ",".join("x".join(map(str, shape)) for shape in shapes) if shapes else "tried out"


def read_budget(text: str) -> Budget:
    """ "params", "flops", "5_000_000" (parameters) or "flops:1e9" as ``reconfig.plan`` takes it."""
    if text in ("params", "flops"):
        return text  # type: ignore[return-value]
    unit, _, number = text.rpartition(":")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if unit not in ("", "params", "flops") or not 1 <= value < math.inf or value != int(value):
        raise ValueError(f"a budget is params, flops, a number of parameters, or as in flops:1e9, not {text!r}")
    return (unit, int(value)) if unit else int(value)  # type: ignore[return-value]


def show_budget(budget: Any) -> str:
    """What ``read_budget`` reads, or none."""
    return "none" if budget is None else ":".join(map(str, budget)) if isinstance(budget, tuple) else str(budget)


def read_stages(text: str) -> Mapping[str, int]:
    """ "layer1=1,layer2=2" as a mapping."""
    found: dict[str, int] = {}
    for item in text.split(","):
        name, equals, number = item.rpartition("=")
        if not (name and equals and number.isdecimal()):
            raise ValueError(f"stages read like layer1=1,layer2=2 (1 for the first), not {text!r}")
        found[name] = int(number)
    return found


def show_stages(stages: Mapping[str, int] | None) -> str:
    """What ``read_stages`` reads; None is as found."""
    return ",".join(f"{name}={number}" for name, number in stages.items()) if stages else "as found"
