"""Calls that make a tensor of sizes that they are given."""

from __future__ import annotations

from typing import Any

from reconfig.widths.calls.table import named, table
from reconfig.widths.site import Site
from reconfig.widths.structure import Value


def factory(site: Site, *args: Any, **kwargs: Any) -> Any:
    """Its sizes are numbers by now, but may follow a width through ``x.shape``: assume so, the second capture tells."""
    if site.shape and isinstance(site.shape[0], tuple):
        return site.constant()
    return Value(site.shape, tuple(site.widths.loose(size) for size in site.shape))


_FACTORIES = """
zeros ones empty full rand randn arange linspace tensor eye new_zeros new_ones new_empty new_full new_tensor
as_tensor meshgrid one_hot
"""

FACTORIES = table((factory, named(_FACTORIES)))
