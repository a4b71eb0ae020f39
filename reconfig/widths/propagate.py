"""Read captures in widths, call by call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import fx, nn
from torch.fx.node import map_arg

from reconfig.rule import Keep
from reconfig.trace.leaves import leaves
from reconfig.trace.record import Capture
from reconfig.trace.skeleton import tensors_of
from reconfig.widths.algebra import const
from reconfig.widths.calls import HANDLERS, Handler, unknown
from reconfig.widths.flops import LAWS
from reconfig.widths.grouping import find_grouping, norm_length
from reconfig.widths.reasons import INPUT, OUTPUT, FrozenKind, Reason
from reconfig.widths.site import Draft, Site, source_line
from reconfig.widths.solver import Widths
from reconfig.widths.structure import Cost, Structure, Value


def propagate(
    model: nn.Module, captures: Sequence[Capture], *, apart: bool = False, keep: Keep | None = None
) -> Structure:
    """Read the captures of ``model`` in widths: one width for all that must stay equal.

    Args:
        model: the skeleton that was captured.
        captures: of its forward.
        apart: let the pieces of a concat that one width meets be of different lengths, where they have equal ones now.
        keep: what grouped convolutions keep; None is whichever is the same throughout the model.
    """
    widths = Widths(apart)
    params = {name: tuple(widths.fresh(size) for size in tensor.shape) for name, tensor in tensors_of(model)}
    draft = Draft(widths, params, find_grouping(model, captures, keep), norm_length(model, captures))
    for capture in captures:
        for index, node in enumerate(capture.nodes):
            draft.values[node] = _value(draft, node, index)
        for value in leaves(_looked_up(draft, capture.output), Value):
            for extent in value.dims:
                widths.freeze(extent, OUTPUT)
    widths.settle()
    return Structure(
        captures=tuple(captures),
        widths=widths,
        params=params,
        grouping=draft.grouping,
        values=draft.values,
        layers=tuple(draft.layers),
        attributes=tuple(draft.attributes),
        costs=tuple(_costs(draft, captures[0])),  # the others repeat the first
        reads=tuple(draft.reads),
        gains=draft.gains,
    )


def _value(draft: Draft, node: fx.Node, index: int) -> Any:
    # Constants count as given too: one may be the result of a call that nobody sees.
    if node.op == "placeholder" or any(source in draft.varying for source in node.all_input_nodes):
        draft.varying.add(node)
    if node.op == "get_attr":
        return Value(node.meta["shape"], draft.params[str(node.target)])
    if node.op == "placeholder":
        return _given(draft.widths, node)
    handler: Handler = HANDLERS.get(node.target, unknown)
    return handler(Site(draft, node, index), *_looked_up(draft, node.args), **_looked_up(draft, node.kwargs))


def _given(widths: Widths, node: fx.Node) -> Value:
    """An input, or a tensor that the model keeps outside of its parameters and buffers: nothing can resize it."""
    shape = node.meta["shape"]
    reason = INPUT
    if node.target == "constant":
        text = f"a tensor that is neither parameter nor buffer, used at {source_line(node)}"
        reason = Reason(FrozenKind.CONSTANT, text)
    dims = tuple(widths.fresh(size) if axis == 1 else const(size) for axis, size in enumerate(shape))
    for extent in dims:
        widths.freeze(extent, reason)
    return Value(shape, dims)


def _costs(draft: Draft, capture: Capture) -> Iterator[Cost]:
    for node in capture.nodes:
        law = LAWS.get(node.target)
        result = draft.values[node]
        product = law and law(node, result, *_looked_up(draft, node.args), **_looked_up(draft, node.kwargs))
        if product:
            factor, extents = product
            # What is made for as many examples as there are (a position encoding) counts with them.
            batched = draft.widths.size(extents[0]) == capture.batch
            yield Cost(factor, node not in draft.varying and not batched, extents)


def _looked_up(draft: Draft, item: Any) -> Any:
    """``item`` with nodes replaced by their values."""
    return map_arg(item, draft.values.__getitem__)
