"""Calls that nobody has told reconfig about: what flows into them keeps its width."""

from __future__ import annotations

from typing import Any

from reconfig.trace.leaves import leaves
from reconfig.widths.reasons import FrozenKind, Reason
from reconfig.widths.site import Site, call_name, describe
from reconfig.widths.structure import Value


def unknown(site: Site, *args: Any, **kwargs: Any) -> Any:
    """Freeze every width that flows in; the output is constant."""
    teach = f"teach it with reconfig.register({call_name(site.node)}, handler)"
    why = Reason(FrozenKind.UNKNOWN_CALL, f"unknown call {describe(site.node)}; {teach}")
    for value in leaves((args, kwargs), Value):
        site.freeze(*value.dims, why=why)
    return site.constant()
