"""The ways to fill a network of new shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from reconfig.errors import ReconfigError
from reconfig.rewrite.depth import DepthEdit
from reconfig.rewrite.fresh import fresh
from reconfig.rewrite.inherit import Channels, inherit
from reconfig.trace.skeleton import tensors_of

Fill = Callable[[str, Tensor], Tensor]
"""The real tensor for a name and its meta tensor."""

WEIGHTS: Mapping[str, Callable[[nn.Module, Sequence[DepthEdit], Channels], Fill]] = {
    "fresh": lambda original, edits, channels: fresh(original, edits),
    "inherit": inherit,
}


def filling(weights: str, original: nn.Module, edits: Sequence[DepthEdit], channels: Channels) -> Fill:
    """How ``weights`` fills a variant of ``original``; of one on the meta device, with nothing: it goes there too."""
    if all(tensor.is_meta for _, tensor in tensors_of(original)):
        return lambda name, meta: torch.empty_like(meta, device="meta")
    return WEIGHTS[weights](original, edits, channels)


def check_weights(weights: str) -> str:
    """``weights`` itself.

    Raises:
        ReconfigError: where there is no such way to fill a network.
    """
    if weights not in WEIGHTS:
        raise ReconfigError(f"weights={weights!r} is unknown; choose one of {', '.join(map(repr, WEIGHTS))}")
    return weights
