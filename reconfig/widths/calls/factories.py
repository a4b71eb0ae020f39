"""Calls that make a tensor of sizes that they are given."""

from __future__ import annotations

from typing import Any

from reconfig.widths.calls.table import named, table
from reconfig.widths.site import Site
from reconfig.widths.structure import Value


def factory(site: Site, *args: Any, **kwargs: Any) -> Any:
    """A tensor of sizes that may have been read from ``x.shape``.

    They arrive as numbers, so each counts as a length that may turn out to be a width; where that is wrong, the
    rewritten skeleton runs otherwise than planned, and the width is kept.
    """
    if site.shape and isinstance(site.shape[0], tuple):
        return site.constant()
    return Value(site.shape, tuple(site.widths.loose(size) for size in site.shape))


_FACTORIES = """
zeros ones empty full rand randn arange linspace tensor eye new_zeros new_ones new_empty new_full new_tensor
as_tensor meshgrid one_hot
"""

FACTORIES = table((factory, named(_FACTORIES)))
