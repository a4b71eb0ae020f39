"""Where a handler works: one call of the forward, and the draft of the structure that it adds to."""

from __future__ import annotations

from dataclasses import dataclass, field
from os.path import basename
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from reconfig.trace.record import Shape
from reconfig.widths.algebra import Dims, Extent, const
from reconfig.widths.grouping import Grouping
from reconfig.widths.reasons import FrozenKind, Reason
from reconfig.widths.solver import Widths
from reconfig.widths.structure import Attribute, Layer, Value


@dataclass
class Draft:
    """A structure in the making. The fields are those of ``Structure``, and
    ``norm_length``: the channels that a group of each group norm keeps; None where the number of groups stays;
    ``varying``: the nodes that do not follow from parameters alone.
    """

    widths: Widths
    params: dict[str, Dims]
    grouping: Grouping | None
    norm_length: int | None = None
    values: dict[fx.Node, Any] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    attributes: list[Attribute] = field(default_factory=list)
    reads: dict[tuple[str, int], None] = field(default_factory=dict)
    gains: dict[str, Extent] = field(default_factory=dict)
    varying: set[fx.Node] = field(default_factory=set)


@dataclass(frozen=True)
class Site:
    """One call, as its handler sees it.

    Attributes:
        draft: what the handlers of all calls add to.
        node: the call; its ``meta`` has what the capture saw of it.
        index: its position among the nodes of its capture.
    """

    draft: Draft
    node: fx.Node
    index: int

    @property
    def widths(self) -> Widths:
        """All widths of the model."""
        return self.draft.widths

    @property
    def shape(self) -> Any:
        """The shape of what the call gave; of several tensors, a tuple of theirs."""
        return self.node.meta["shape"]

    @property
    def reason(self) -> Reason:
        """Why a width stays that the call's use of it holds."""
        return Reason(FrozenKind.CALL, describe(self.node))

    def tie(self, left: Extent, right: Extent) -> None:
        """The two are equal, now and after any change."""
        self.widths.tie(left, right, self.reason)

    def adopt(self, own: Extent, extent: Extent) -> None:
        """``own``, a dimension of a parameter, is made of what ``extent`` is made of."""
        self.widths.adopt(own, extent, self.reason)

    def divide(self, extent: Extent, divisor: int) -> Extent:
        """``extent / divisor``, which has to stay whole."""
        return self.widths.divide(extent, divisor, self.reason)

    def freeze(self, *extents: Extent, why: Reason | None = None) -> None:
        """These keep their size."""
        for extent in extents:
            self.widths.freeze(extent, why or self.reason)

    def keep(self, **attributes: Extent) -> None:
        """The calling module may keep these numbers under these names."""
        path = self.node.meta["path"]
        self.draft.attributes.extend(Attribute(path, name, extent) for name, extent in attributes.items())

    def read(self, axis: int) -> None:
        """The call sums over this axis of its weight (its second argument)."""
        weight = self.node.args[1] if len(self.node.args) > 1 else self.node.kwargs["weight"]
        if isinstance(weight, fx.Node) and weight.op == "get_attr":
            self.draft.reads[str(weight.target), axis] = None
        elif isinstance(weight, fx.Node) and (gain := _standardised_gain(weight)) is not None:
            self.draft.gains[str(gain.target)] = self.draft.values[weight].dims[axis]

    def layer(self, out: Extent, input: Extent, positions: Shape, depthwise: bool = False, kernel: Shape = ()) -> None:
        """The call makes the channels ``out`` from ``input`` at these positions."""
        path = self.node.meta["path"]
        self.draft.layers.append(Layer(self.node, path, self.index, out, input, positions, depthwise, kernel))

    def constant(self) -> Any:
        """The output, as dimensions that never change."""
        return _constant(self.shape)

    def made_of_parameters(self, argument: int) -> bool:
        """Whether this tensor (counted among those of the call) does not depend on the input, and another does."""
        sources = self.node.all_input_nodes
        return self.node in self.draft.varying and len(sources) == 2 and sources[argument] not in self.draft.varying


def _standardised_gain(weight: fx.Node) -> fx.Node | None:
    """The parameter that scales a weight which a batch norm standardises before it is used; None where none does.

    (Brock et al., Characterizing signal propagation to close the performance gap in unnormalized ResNets, ICLR 2021.)
    """
    while weight.target not in (F.batch_norm, torch.batch_norm):
        if weight.op != "call_function" or not weight.all_input_nodes:
            return None
        weight = weight.all_input_nodes[0]
    gain = weight.kwargs.get("weight", weight.args[3] if len(weight.args) > 3 else None)
    while isinstance(gain, fx.Node) and gain.op != "get_attr":
        gain = gain.all_input_nodes[0] if len(gain.all_input_nodes) == 1 else None
    return gain if isinstance(gain, fx.Node) else None


def _constant(shape: Any) -> Any:
    if shape and isinstance(shape[0], tuple | type(None)):
        return tuple(None if item is None else _constant(item) for item in shape)
    return Value(shape, tuple(const(size) for size in shape))


def call_name(node: fx.Node) -> str:
    """The torch call as a user writes it, for messages."""
    target: Any = node.target
    if isinstance(target, str):
        return target
    if isinstance(target, torch._ops.OpOverloadPacket):
        return f"torch.ops.{target._qualified_op_name.replace('::', '.')}"
    owner = getattr(target, "__objclass__", None)
    name = getattr(target, "__name__", str(target))
    if name == "__get__":
        return f"Tensor.{target.__self__.__name__}"
    if owner is not None and issubclass(owner, torch._C.TensorBase):
        return f"Tensor.{name}"
    return f"{'F' if (getattr(target, '__module__', '') or '').endswith('functional') else 'torch'}.{name}"


def source_line(node: fx.Node) -> str:
    """File and line of the call, and the module that made it."""
    file, line = node.meta["source"]
    where = f"{basename(file)}:{line}" if file else "an unknown line"
    return f"{where} (in {node.meta['path'] or 'the model itself'})"


def describe(node: fx.Node) -> str:
    """The call and where it is made, for messages."""
    return f"{call_name(node)} at {source_line(node)}"
