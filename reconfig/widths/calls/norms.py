"""Normalisations: their scales and statistics are as long as what they normalise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from reconfig.trace.leaves import leaves
from reconfig.widths.algebra import Extent
from reconfig.widths.calls.table import named, table
from reconfig.widths.site import Site
from reconfig.widths.structure import Value


def batch_norm(
    site: Site,
    input: Value,
    running_mean: Value | None = None,
    running_var: Value | None = None,
    weight: Value | None = None,
    bias: Value | None = None,
    *args: Any,
    **kwargs: Any,
) -> Value:
    channels = input.dims[1]
    for value in (running_mean, running_var, weight, bias):
        if value is not None:
            site.adopt(value.dims[0], channels)
    site.keep(num_features=channels)
    return input


def group_norm(site: Site, input: Value, num_groups: int, *args: Any, **kwargs: Any) -> Value:
    channels = input.dims[1]
    if num_groups > 1 and num_groups == input.shape[1]:
        site.keep(num_groups=channels)  # as many groups as channels: each is normalised by itself
    elif num_groups > 1 and _keeps_length(site, channels):
        site.keep(num_groups=site.divide(channels, input.shape[1] // num_groups))
    elif num_groups > 1:
        site.widths.divisible(channels, num_groups)
    for value in leaves((args, kwargs), Value):
        site.adopt(value.dims[0], channels)
    site.keep(num_channels=channels)
    return input


def _keeps_length(site: Site, channels: Extent) -> bool:
    """Whether groups keep their channels, and their number scales."""
    length = site.draft.norm_length
    terms = site.widths.resolve(channels)
    return length is not None and all(site.widths.size((term,)) % length == 0 for term in terms)


def layer_norm(site: Site, input: Value, normalized_shape: Sequence[int], *args: Any, **kwargs: Any) -> Value:
    normalized = input.dims[len(input.dims) - len(normalized_shape) :]
    for value in leaves((args, kwargs), Value):
        for own, theirs in zip(value.dims, normalized, strict=True):
            site.adopt(own, theirs)
    if len(normalized_shape) == 1:
        site.keep(normalized_shape=normalized[0])
    else:
        site.freeze(*normalized)
    return input


NORMS = table(
    (batch_norm, [F.batch_norm, torch.batch_norm, F.instance_norm]),
    (group_norm, [F.group_norm, torch.group_norm]),
    (layer_norm, [F.layer_norm, torch.layer_norm, *named("rms_norm")]),
)
