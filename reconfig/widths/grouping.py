"""What of grouped convolutions and norms stays: how many groups there are, or how wide each is.

A ResNeXt is designed by its number of groups, a RegNet by the width of a group. Whichever is the same throughout a
network is what it was designed by; the other scales.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import fx, nn

from reconfig.draw import listed
from reconfig.rule import Keep
from reconfig.trace.record import Capture, Shape

_CONVOLUTIONS = frozenset({torch.conv1d, torch.conv2d, torch.conv3d})
_GROUPS = 6  # the position of a convolution's number of groups among its arguments
_NORMS = frozenset({F.group_norm, torch.group_norm})


@dataclass(frozen=True)
class Grouping:
    """What a network's grouped convolutions keep, those aside that have as many groups as channels.

    Attributes:
        kept: the number of groups, or the channels of each.
        sizes: what that is in the network's convolutions, each once.
        others: module names of convolutions that keep the number of groups where the others keep the group width:
            their code has it as a number, they make another number of channels than they read, or a group of theirs
            reads of several widths.
    """

    kept: Keep
    sizes: tuple[int, ...]
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        size = str(self.sizes[0]) if len(self.sizes) == 1 else f"{self.sizes[0]} to {self.sizes[-1]}"
        if self.kept == "groups":
            return f"grouped convolutions keep their number of groups ({size}); the width of each scales"
        others = f"; {listed(self.others)} the number" if self.others else ""
        return f"grouped convolutions keep the width of a group ({size} channels); their number scales{others}"


@dataclass(frozen=True)
class _Grouped:
    path: str
    groups: int
    width: int
    countable: bool  # whether the number of groups can follow the channels


def find_grouping(model: nn.Module, captures: Sequence[Capture], asked: Keep | None) -> Grouping | None:
    """What the grouped convolutions of ``model`` keep, or None where it has none.

    Args:
        model: the skeleton that was captured.
        captures: of its forward.
        asked: what the rule says; None is whichever is the same throughout, and the number where both or neither are.
    """
    found = [grouped for capture in captures for node in capture.nodes for grouped in _grouped(model, node)]
    countable = [grouped for grouped in found if grouped.countable]
    numbers, widths = sorted({each.groups for each in found}), sorted({each.width for each in countable})
    if not found:
        return None
    by_width = len(widths) == 1 and len({each.groups for each in countable}) > 1
    if countable and (asked or ("group-width" if by_width else "groups")) == "group-width":
        others = dict.fromkeys(each.path for each in found if not each.countable)
        return Grouping("group-width", tuple(widths), tuple(others))
    return Grouping("groups", tuple(numbers))


def norm_length(model: nn.Module, captures: Sequence[Capture]) -> int | None:
    """Channels of a group in all group norms of ``model``, where their number is not the same; else None."""
    lengths, numbers = set(), set()
    for node in (node for capture in captures for node in capture.nodes if node.target in _NORMS):
        given = node.args[0] if node.args else node.kwargs["input"]
        number = node.kwargs["num_groups"] if len(node.args) < 2 else node.args[1]
        channels = given.meta["shape"][1] if isinstance(given, fx.Node) else 0
        if isinstance(number, int) and 1 < number < channels:
            numbers.add(number)
            follows = getattr(model.get_submodule(node.meta["path"]), "num_groups", None) == number
            lengths.add(channels // number if follows else 0)
    return next(iter(lengths)) if len(lengths) == 1 < len(numbers) and 0 not in lengths else None


def _grouped(model: nn.Module, node: fx.Node) -> Iterator[_Grouped]:
    if node.target not in _CONVOLUTIONS:
        return
    groups = node.kwargs.get("groups", node.args[_GROUPS] if len(node.args) > _GROUPS else 1)
    weight = node.args[1] if len(node.args) > 1 else node.kwargs["weight"]
    if not isinstance(weight, fx.Node) or not isinstance(groups, int) or groups == 1:
        return
    shape: Shape = weight.meta["shape"]
    out, width = shape[:2]
    if width > 1 and out > groups:
        path = node.meta["path"]
        follows = getattr(model.get_submodule(path), "groups", None) == groups
        yield _Grouped(path, groups, width, follows and out == groups * width)
