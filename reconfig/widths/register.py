"""Torch calls of one's own, such as custom operators."""

from __future__ import annotations

from typing import Any

from reconfig.errors import ReconfigError
from reconfig.widths.calls import HANDLERS, Handler


def register(call: Any, handler: Handler) -> None:
    """Teach reconfig a torch call, such as a custom operator, for all models from now on.

    Args:
        call: the function as models call it, e.g. ``torch.ops.my.blur`` or ``torch.Tensor.my_method``.
        handler: says what the call does to widths. ``reconfig.elementwise`` does for a call whose output has the
            broadcast shape of its inputs; otherwise a function of a ``reconfig.Site`` and the call's own arguments,
            tensors among them replaced by ``reconfig.Value``, that ties what must stay equal and returns the output's
            ``Value``.

    Raises:
        ReconfigError: where the call cannot be called, or is handled already; the message lists what exists.
    """
    if not callable(call) or not callable(handler):
        raise ReconfigError(f"register takes a torch call and its handler, not {call!r} and {handler!r}")
    if call in HANDLERS:
        known = ", ".join(sorted({function.__name__ for function in HANDLERS.values()}))
        raise ReconfigError(
            f"{getattr(call, '__name__', call)} is handled already, by {HANDLERS[call].__name__}; handlers: {known}"
        )
    HANDLERS[call] = handler
