"""Two networks beside each other, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

from torch import nn

from reconfig.picture.chart import Cell, Row

_ITSELF = "the model itself"


def layer_rows(before: nn.Module, after: nn.Module) -> tuple[Row, ...]:
    """A row for each module with a weight that maps channels, in the order in which the networks keep them.

    Args:
        before, after: networks, on any device; norms and other vectors follow the layers and have no rows.
    """
    sides = [_cells(before), _cells(after)]
    return tuple(Row(name or _ITSELF, "", tuple(side.get(name) for side in sides)) for name in _merged(*sides))


def _cells(model: nn.Module) -> dict[str, Cell]:
    return {name: _cell(module) for name, module in model.named_modules() if _maps(module)}


def _maps(module: nn.Module) -> bool:
    return any(parameter.dim() > 1 for parameter in module.parameters(recurse=False))


def _merged(before: Iterable[str], after: Iterable[str]) -> Iterable[str]:
    """All names once, in an order that both keep."""
    left, right = list(before), list(after)
    steps = SequenceMatcher(None, left, right, autojunk=False).get_opcodes()
    return dict.fromkeys(name for _, a, b, c, d in steps for name in (*left[a:b], *right[c:d]))


def _cell(module: nn.Module) -> Cell:
    parameters = [parameter for parameter in module.parameters(recurse=False) if parameter.dim() > 1]
    shapes = ", ".join("x".join(map(str, parameter.shape)) for parameter in parameters)
    count = sum(parameter.numel() for parameter in module.parameters(recurse=False))
    details = f"{type(module).__name__} {shapes}, {count:,} parameters"
    for enters, leaves in (("in_channels", "out_channels"), ("in_features", "out_features")):
        width, new_width = getattr(module, enters, None), getattr(module, leaves, None)
        if isinstance(width, int) and isinstance(new_width, int):
            return Cell(new_width, (f"{width} → {new_width}", *_kernel(module)), details)
    return Cell(parameters[0].shape[0], (shapes,), details)


def _kernel(module: nn.Module) -> tuple[str, ...]:
    """The size of a convolution's kernel, and its groups."""
    size, groups = getattr(module, "kernel_size", None), getattr(module, "groups", 1)
    if not isinstance(size, tuple):
        return ()
    return ("x".join(map(str, size)), *([f"g{groups}"] if groups != 1 else []))
