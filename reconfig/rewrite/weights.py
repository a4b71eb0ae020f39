"""The ways to fill a network of new shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from reconfig.errors import ReconfigError
from reconfig.rewrite.depth import DepthEdit
from reconfig.rewrite.fresh import fresh
from reconfig.rewrite.inherit import Channels, inherit

Fill = Callable[[str, Tensor], Tensor]
"""The real tensor for a name and its meta tensor."""

WEIGHTS: Mapping[str, Callable[[nn.Module, Sequence[DepthEdit], Channels], Fill]] = {
    "fresh": lambda original, edits, channels: fresh(original, edits),
    "inherit": inherit,
}


def check_weights(weights: str) -> str:
    """``weights`` itself.

    Raises:
        ReconfigError: where there is no such way to fill a network.
    """
    if weights not in WEIGHTS:
        raise ReconfigError(f"weights={weights!r} is unknown; choose one of {', '.join(map(repr, WEIGHTS))}")
    return weights
