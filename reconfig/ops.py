"""What each torch call does to widths: one small function per kind of call, all in one table.

Three things can happen to a call. It is *handled* (its function is in ``HANDLERS``), it is *elementwise* (its output
has the broadcast shape of its inputs), or it is *unknown*: then every width that flows into it is frozen, with the
call and its source line as the reason.
"""

from __future__ import annotations

import math
import operator
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os.path import basename
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from reconfig.capture import Capture, Shape
from reconfig.errors import ReconfigError
from reconfig.skeleton import tensors_of
from reconfig.widths import Dims, Extent, Part, Term, Widths, const, constant, parts

INPUT = "the model's input"
OUTPUT = "the model's output"


@dataclass(frozen=True)
class Value:
    """A tensor as far as widths are concerned: its shape, and what each dimension is made of."""

    shape: Shape
    dims: Dims


@dataclass(frozen=True)
class Layer:
    """A call that makes new channels: a convolution or a linear map with its weight.

    ``groups`` > 1 with ``depthwise`` set means that the channels are not new but the input's own.
    """

    node: fx.Node
    path: str
    index: int
    out: Extent
    input: Extent
    shape: Shape
    depthwise: bool
    kernel: Shape

    @property
    def pointwise(self) -> bool:
        """Whether it sees one position at a time."""
        return math.prod(self.kernel) == 1


@dataclass(frozen=True)
class Attribute:
    """An integer that a module keeps about a width, such as ``num_features``."""

    path: str
    name: str
    extent: Extent


@dataclass(frozen=True)
class Cost:
    """Multiply-adds of one call: ``factor`` times the product of the extents, as fvcore counts them.

    ``once`` for what does not depend on the input (a weight being standardised), however many examples there are.
    """

    factor: int
    once: bool
    extents: tuple[Extent, ...]


@dataclass
class Structure:
    """The captures of one model, read in widths."""

    captures: tuple[Capture, ...]
    widths: Widths
    params: dict[str, Dims]
    values: dict[fx.Node, Any] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    attributes: list[Attribute] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    dynamic: set[fx.Node] = field(default_factory=set)  # what depends on the model's input
    reads: dict[tuple[str, int], None] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """Where a handler works: one node, and the structure that it adds to."""

    structure: Structure
    node: fx.Node
    index: int

    @property
    def widths(self) -> Widths:
        return self.structure.widths

    @property
    def shape(self) -> Any:
        return self.node.meta["shape"]

    @property
    def reason(self) -> str:
        return f"{call_name(self.node)} at {place(self.node)}"

    def tie(self, left: Extent, right: Extent) -> None:
        self.widths.tie(left, right, self.reason)

    def follow(self, own: Extent, extent: Extent) -> None:
        self.widths.follow(own, extent, self.reason)

    def divide(self, extent: Extent, divisor: int) -> Extent:
        return self.widths.divide(extent, divisor, self.reason)

    def freeze(self, *extents: Extent, why: str = "") -> None:
        for extent in extents:
            self.widths.freeze(extent, why or self.reason)

    def keep(self, **attributes: Extent) -> None:
        """The calling module may keep these numbers under these names."""
        path = self.node.meta["path"]
        self.structure.attributes.extend(Attribute(path, name, extent) for name, extent in attributes.items())

    def read(self, axis: int) -> None:
        """The call sums over this axis of its weight (its second argument)."""
        weight = self.node.args[1] if len(self.node.args) > 1 else self.node.kwargs["weight"]
        if isinstance(weight, fx.Node) and weight.op == "get_attr":
            self.structure.reads[str(weight.target), axis] = None

    def count(self, factor: int, *extents: Extent) -> None:
        """The call costs this many multiply-adds. Only the first capture counts: the others repeat it."""
        if self.node.graph is self.structure.captures[0].graph:
            # What is made for as many examples as there are (a position encoding) counts with them.
            batched = self.widths.size(extents[0]) == self.structure.captures[0].batch
            once = self.node not in self.structure.dynamic and not batched
            self.structure.costs.append(Cost(factor, once, extents))

    def constant(self) -> Any:
        """The output, as dimensions that never change."""
        return _constant(self.shape)

    def made_of_parameters(self, argument: int) -> bool:
        """Whether this tensor (counted among those of the call) does not depend on the input, and another does."""
        sources = self.node.all_input_nodes
        return (
            self.node in self.structure.dynamic
            and len(sources) == 2
            and sources[argument] not in self.structure.dynamic
        )

    def layer(self, out: Extent, input: Extent, positions: Shape, depthwise: bool = False, kernel: Shape = ()) -> None:
        """The call makes the channels ``out`` from ``input`` at these positions."""
        path = self.node.meta["path"]
        self.structure.layers.append(Layer(self.node, path, self.index, out, input, positions, depthwise, kernel))


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


def place(node: fx.Node) -> str:
    """File and line of the call, and the module that made it."""
    file, line = node.meta["source"]
    where = f"{basename(file)}:{line}" if file else "an unknown line"
    return f"{where} (in {node.meta['path'] or 'the model itself'})"


def propagate(model: nn.Module, captures: Sequence[Capture]) -> Structure:
    """Read the captures of ``model`` in widths: one width for all that must stay equal."""
    widths = Widths()
    params = {name: tuple(widths.fresh(size) for size in tensor.shape) for name, tensor in tensors_of(model)}
    structure = Structure(tuple(captures), widths, params)
    for capture in captures:
        for index, node in enumerate(capture.nodes):
            structure.values[node] = _value(structure, node, index)
        for value in _flat(_lookup(structure.values, capture.output)):
            for extent in value.dims:
                widths.freeze(extent, OUTPUT)
    return structure


def _value(structure: Structure, node: fx.Node, index: int) -> Any:
    shape = node.meta["shape"]
    given = node.op == "placeholder"  # constants too: one may be the result of a call that nobody sees
    if given or any(source in structure.dynamic for source in node.all_input_nodes):
        structure.dynamic.add(node)
    if node.op == "get_attr":
        return Value(shape, structure.params[str(node.target)])
    if node.op == "placeholder":
        return _given(structure.widths, node)
    site = Site(structure, node, index)
    args, kwargs = _lookup(structure.values, node.args), _lookup(structure.values, node.kwargs)
    handler: Handler = HANDLERS.get(node.target, unknown)
    return handler(site, *args, **kwargs)


def _given(widths: Widths, node: fx.Node) -> Value:
    """An input, or a tensor that the model keeps outside of its parameters and buffers: nothing can resize it."""
    shape = node.meta["shape"]
    own = node.target == "constant"
    reason = f"a tensor that is neither parameter nor buffer, used at {place(node)}" if own else INPUT
    dims = tuple(widths.fresh(size) if axis == 1 else const(size) for axis, size in enumerate(shape))
    for extent in dims:
        widths.freeze(extent, reason)
    return Value(shape, dims)


def _lookup(values: Mapping[fx.Node, Any], item: Any) -> Any:
    """``item`` with nodes replaced by their values."""
    if isinstance(item, fx.Node):
        return values[item]
    if isinstance(item, tuple | list):
        return tuple(_lookup(values, part) for part in item)
    if isinstance(item, dict):
        return {key: _lookup(values, part) for key, part in item.items()}
    return item


def _flat(item: Any) -> Iterator[Value]:
    """All values in a nested structure."""
    if isinstance(item, Value):
        yield item
    elif isinstance(item, dict):
        for part in item.values():
            yield from _flat(part)
    elif isinstance(item, tuple | list):
        for part in item:
            yield from _flat(part)


# -- the table ---------------------------------------------------------------------------------------------------------

Handler = Callable[..., Any]
HANDLERS: dict[Any, Handler] = {}


def handles(*calls: Any) -> Callable[[Handler], Handler]:
    """Enter a function into the table for these torch calls."""

    def enter(handler: Handler) -> Handler:
        for call in calls:
            HANDLERS[call] = handler
        return handler

    return enter


def _named(*names: str) -> list[Any]:
    """The calls of these names, as functions, as functionals and as tensor methods, wherever torch has them."""
    found = [getattr(owner, name, None) for owner in (torch, F, Tensor, operator) for name in names]
    return [call for call in found if callable(call)]


def unknown(site: Site, *args: Any, **kwargs: Any) -> Any:
    name = call_name(site.node)
    why = f"unknown call {site.reason}; teach it with reconfig.register({name}, handler)"
    for value in _flat((args, kwargs)):
        site.freeze(*value.dims, why=why)
    return site.constant()


def register(call: Any, handler: Handler) -> None:
    """Teach reconfig a torch call, such as a custom operator, for all models from now on.

    Args:
        call: the function as models call it, e.g. ``torch.ops.my.blur`` or ``torch.Tensor.my_method``.
        handler: says what the call does to widths. ``elementwise`` of this module does for a call whose output has the
            broadcast shape of its inputs; otherwise a function of a ``Site`` and the call's own arguments, tensors
            among them replaced by ``Value``, that ties what must stay equal and returns the output's ``Value``.

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


# -- layers ------------------------------------------------------------------------------------------------------------


@handles(torch.conv1d, torch.conv2d, torch.conv3d, F.conv1d, F.conv2d, F.conv3d)
def convolution(
    site: Site,
    input: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    channel = len(input.shape) - len(weight.shape) + 1
    incoming, out = input.dims[channel], weight.dims[0]
    for kernel in weight.dims[2:]:
        site.widths.pin(kernel)
    depthwise = groups > 1 and weight.shape[1] == 1
    if depthwise:
        # As many groups as channels: the channels, and so the groups, are the input's own.
        multiplied = site.widths.multiply([incoming, const(weight.shape[0] // input.shape[channel])])
        site.tie(out, multiplied or out)
        site.keep(groups=incoming)
    elif groups > 1:
        site.follow(weight.dims[1], site.divide(incoming, groups))
        site.read(axis=1)
        site.widths.divisible(out, groups)
    else:
        site.follow(weight.dims[1], incoming)
        site.read(axis=1)
    result = _layer(site, input, weight, bias, channel, out, depthwise)
    site.count(1, *result.dims[:channel], *weight.dims, *result.dims[channel + 1 :])
    return result


@handles(torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)
def transposed_convolution(
    site: Site,
    input: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value:
    channel = len(input.shape) - len(weight.shape) + 1
    for kernel in weight.dims[2:]:
        site.widths.pin(kernel)
    incoming = input.dims[channel]
    site.follow(weight.dims[0], incoming)
    site.read(axis=0)
    depthwise = groups > 1 and groups == input.shape[channel]
    if depthwise:
        # As many groups as channels: they are the input's own.
        site.keep(groups=incoming)
        out = site.widths.multiply([incoming, weight.dims[1]])
    else:
        site.widths.divisible(incoming, groups)
        out = site.widths.multiply([const(groups), weight.dims[1]])
    site.count(math.prod(input.shape[channel + 1 :]), *input.dims[:channel], *weight.dims)
    return _layer(site, input, weight, bias, channel, out or const(groups * weight.shape[1]), depthwise)


def _layer(
    site: Site, input: Value, weight: Value, bias: Value | None, channel: int, out: Extent, depthwise: bool
) -> Value:
    if bias is not None:
        site.follow(bias.dims[0], out)
    site.keep(in_channels=input.dims[channel], out_channels=out, in_features=input.dims[channel], out_features=out)
    # A position that keeps its length passes through: convolutions may run along channels (ECA).
    dims = [
        extent if len(input.shape) == len(site.shape) and input.shape[axis] == size else const(size)
        for axis, (size, extent) in enumerate(zip(site.shape, input.dims, strict=True))
    ]
    dims[channel] = out
    positions = tuple(size for size, extent in zip(site.shape, dims, strict=True) if constant(extent))
    site.layer(out, input.dims[channel], positions[channel:], depthwise, weight.shape[2:])
    return Value(site.shape, tuple(dims))


@handles(F.linear, torch._C._nn.linear)
def linear(site: Site, input: Value, weight: Value, bias: Value | None = None) -> Value:
    last = len(input.shape) - 1
    site.follow(weight.dims[1], input.dims[last])
    site.read(axis=1)
    out = weight.dims[0]
    if bias is not None:
        site.follow(bias.dims[0], out)
    site.keep(in_features=input.dims[last], out_features=out)
    site.count(1, *input.dims, out)
    site.layer(out, input.dims[last], input.shape[1:last])
    return Value(site.shape, (*input.dims[:last], out))


@handles(F.batch_norm, torch.batch_norm, F.instance_norm)
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
            site.follow(value.dims[0], channels)
    training = kwargs.get("training", args[0] if args else False)
    if site.node.target is F.instance_norm or training is True:
        site.count(4 if weight is None else 5, *input.dims)
    else:
        site.count(1 if weight is None else 2, *input.dims)
    site.keep(num_features=channels)
    return input


@handles(F.group_norm, torch.group_norm)
def group_norm(site: Site, input: Value, num_groups: int, *args: Any, **kwargs: Any) -> Value:
    channels = input.dims[1]
    if num_groups > 1:
        site.widths.divisible(channels, num_groups)
    for value in _flat((args, kwargs)):
        site.follow(value.dims[0], channels)
    site.count(5 if any(_flat((args, kwargs))) else 4, *input.dims)
    site.keep(num_channels=channels)
    return input


@handles(F.layer_norm, torch.layer_norm, *_named("rms_norm"))
def layer_norm(site: Site, input: Value, normalized_shape: Sequence[int], *args: Any, **kwargs: Any) -> Value:
    normalized = input.dims[len(input.dims) - len(normalized_shape) :]
    for value in _flat((args, kwargs)):
        for own, theirs in zip(value.dims, normalized, strict=True):
            site.follow(own, theirs)
    if site.node.target in (F.layer_norm, torch.layer_norm):
        site.count(5 if any(_flat((args, kwargs))) else 4, *input.dims)
    if len(normalized_shape) == 1:
        site.keep(normalized_shape=normalized[0])
    else:
        site.freeze(*normalized)
    return input


# -- elementwise and reductions ----------------------------------------------------------------------------------------

ELEMENTWISE = _named(
    *"_weight_norm relu relu_ relu6 leaky_relu leaky_relu_ elu elu_ selu selu_ celu gelu silu mish softplus".split(),
    *"sigmoid sigmoid_ tanh tanh_".split(),
    *"hardtanh hardtanh_ hardswish hardsigmoid hardsigmoid_ logsigmoid softsign rrelu threshold".split(),
    *"dropout dropout_ alpha_dropout feature_dropout feature_alpha_dropout dropout1d dropout2d dropout3d".split(),
    *"softmax log_softmax normalize".split(),
    *"add add_ sub sub_ mul mul_ div div_ true_divide floor_divide pow pow_ rsub remainder fmod".split(),
    *"__add__ __radd__ __iadd__ __sub__ __rsub__ __isub__ __mul__ __rmul__ __imul__ __truediv__ __rtruediv__".split(),
    *"__itruediv__ __pow__ __rpow__ __neg__ __and__ __or__ __invert__".split(),
    *"__eq__ __ne__ __lt__ __le__ __gt__ __ge__".split(),
    *"neg abs exp log log1p sqrt rsqrt square sign floor ceil round erf sin cos reciprocal clamp clamp_ clip".split(),
    *"clamp_min clamp_max maximum minimum where lerp addcmul addcdiv lt le gt ge eq ne logical_and logical_or".split(),
    *"logical_not isnan isinf nan_to_num masked_fill masked_fill_".split(),
    *"bernoulli bernoulli_ uniform_ normal_ fill_ zero_".split(),
    *"clone contiguous detach detach_ to float double half bfloat16 type type_as cpu cuda requires_grad_".split(),
    *"zeros_like ones_like empty_like rand_like randn_like full_like flip roll cumsum rand_like copy_".split(),
)


@handles(*ELEMENTWISE, Tensor.data.__get__, Tensor.real.__get__)  # type: ignore[attr-defined]
def elementwise(site: Site, *args: Any, **kwargs: Any) -> Value:
    """The broadcast of all tensors among the arguments; a dimension of 1 gives way, others are tied."""
    dims = list(site.constant().dims)
    claimed: set[int] = set()
    for value in _flat((args, kwargs)):
        offset = len(dims) - len(value.dims)
        for axis, extent in enumerate(value.dims, start=offset):
            if value.shape[axis - offset] == 1:
                continue
            if axis in claimed:
                site.tie(dims[axis], extent)
            dims[axis] = extent if axis not in claimed else dims[axis]
            claimed.add(axis)
    return Value(site.shape, tuple(dims))


@handles(F.prelu, torch.prelu)
def prelu(site: Site, input: Value, weight: Value) -> Value:
    if math.prod(weight.shape) > 1:
        site.follow(weight.dims[0], input.dims[1])
        site.keep(num_parameters=input.dims[1])
    return input


def _axes(dim: Any, rank: int) -> list[int]:
    if dim is None or dim == ():
        return list(range(rank))
    return [axis % rank for axis in (dim if isinstance(dim, tuple | list) else (dim,))]


@handles(*_named(*"mean sum prod amax amin max min argmax argmin var std norm logsumexp median any all".split()))
@handles(*_named("var_mean", "std_mean"))
def reduction(site: Site, input: Value, *args: Any, **kwargs: Any) -> Any:
    """The reduced dimensions go; the others stay. Works for results that come in pairs too."""
    if any(isinstance(value, Value) for value in args):  # torch.max(a, b)
        return elementwise(site, input, *args)
    several = site.shape and isinstance(site.shape[0], tuple)
    shape: Shape = site.shape[0] if several else site.shape
    dims = kwargs.get("dim", kwargs.get("axis", next((a for a in args if not isinstance(a, bool | str | float)), None)))
    gone = _axes(dims, len(input.shape))
    kept = len(shape) == len(input.shape)
    left = [const(1) if axis in gone else extent for axis, extent in enumerate(input.dims) if kept or axis not in gone]
    result = Value(shape, tuple(left))
    return tuple(result for _ in site.shape) if several else result


# -- pooling, padding, resizing ----------------------------------------------------------------------------------------


@handles(
    *_named(*(f"{kind}_pool{n}d" for kind in ("avg", "max", "adaptive_avg", "adaptive_max", "lp") for n in (1, 2, 3)))
)
@handles(*_named("max_pool1d_with_indices", "max_pool2d_with_indices", "grid_sample"))
@handles(*_named("_adaptive_max_pool2d", "_max_pool2d"))
def pooling(site: Site, input: Value, *args: Any, **kwargs: Any) -> Any:
    """Batch and channels stay, positions change."""

    def pooled(shape: Shape) -> Value:
        channel = 1 if len(shape) > 2 else 0
        return Value(shape, (*input.dims[: channel + 1], *(const(size) for size in shape[channel + 1 :])))

    if site.node.target in (F.adaptive_avg_pool2d, torch._C._nn.adaptive_avg_pool2d):
        site.count(1, *input.dims)
    if site.shape and isinstance(site.shape[0], tuple):
        return tuple(pooled(shape) for shape in site.shape)
    return pooled(site.shape)


@handles(*_named("interpolate", "upsample"))
def interpolation(site: Site, input: Value, *args: Any, **kwargs: Any) -> Value:
    result: Value = pooling(site, input)
    mode = kwargs.get("mode", args[2] if len(args) > 2 else "nearest")
    if mode in ("nearest", "bilinear") and len(site.shape) == 4:
        site.count(1 if mode == "nearest" else 4, *result.dims)
    return result


@handles(F.pad, torch._C._nn.pad)
def padding(site: Site, input: Value, pad: Sequence[int], *args: Any, **kwargs: Any) -> Value:
    dims = list(input.dims)
    for axis in range(len(pad) // 2):
        before, after = pad[2 * axis], pad[2 * axis + 1]
        position = len(dims) - 1 - axis
        if constant(dims[position]):
            dims[position] = const(site.shape[position])
        elif min(before, after) < 0:
            site.freeze(dims[position])
            dims[position] = const(site.shape[position])
        elif before or after:
            extra = [site.widths.fresh(size) if size else () for size in (before, after)]
            dims[position] = (*extra[0], *dims[position], *extra[1])
    return Value(site.shape, tuple(dims))


@handles(F.pixel_shuffle)
def pixel_shuffle(site: Site, input: Value, upscale_factor: int) -> Value:
    return _respaced(site, input, site.divide(input.dims[1], upscale_factor**2))


@handles(F.pixel_unshuffle)
def pixel_unshuffle(site: Site, input: Value, downscale_factor: int) -> Value:
    channels = site.widths.multiply([input.dims[1], const(downscale_factor**2)])
    return _respaced(site, input, channels or const(site.shape[1]))


def _respaced(site: Site, input: Value, channels: Extent) -> Value:
    return Value(site.shape, (input.dims[0], channels, *(const(size) for size in site.shape[2:])))


@handles(*_named("channel_shuffle", "native_channel_shuffle"))
def channel_shuffle(site: Site, input: Value, groups: int) -> Value:
    if len(site.widths.resolve(input.dims[1])) > 1:
        site.freeze(input.dims[1])  # the pieces of a concat lie scattered now
    site.widths.divisible(input.dims[1], groups)
    return input


# -- joining and cutting -----------------------------------------------------------------------------------------------


@handles(*_named("cat", "concat", "concatenate"))
def concat(site: Site, tensors: Sequence[Value], dim: int = 0, **kwargs: Any) -> Value:
    tensors = [value for value in tensors if len(value.shape) == len(site.shape)]
    axis = kwargs.get("axis", dim) % len(site.shape)
    first = tensors[0]
    for other in tensors[1:]:
        for position, extent in enumerate(other.dims):
            if position != axis:
                site.tie(first.dims[position], extent)
    joined = tuple(term for value in tensors for term in site.widths.resolve(value.dims[axis]))
    return Value(site.shape, (*first.dims[:axis], joined, *first.dims[axis + 1 :]))


@handles(torch.stack)
def stack(site: Site, tensors: Sequence[Value], dim: int = 0) -> Value:
    axis, first = dim % len(site.shape), tensors[0]
    for other in tensors[1:]:
        for ours, theirs in zip(first.dims, other.dims, strict=True):
            site.tie(ours, theirs)
    return Value(site.shape, (*first.dims[:axis], const(len(tensors)), *first.dims[axis:]))


@handles(*_named("chunk", "split", "tensor_split", "split_with_sizes", "unsafe_chunk", "unsafe_split"))
def pieces(site: Site, input: Value, *args: Any, dim: int | None = None, **kwargs: Any) -> tuple[Value, ...]:
    axis = (dim if dim is not None else args[1] if len(args) > 1 else 0) % len(input.shape)
    cuts = site.widths.cut(input.dims[axis], [shape[axis] for shape in site.shape], site.reason)
    return tuple(
        Value(shape, (*input.dims[:axis], cut, *input.dims[axis + 1 :]))
        for shape, cut in zip(site.shape, cuts, strict=True)
    )


@handles(*_named("unbind"))
def unbind(site: Site, input: Value, dim: int = 0) -> tuple[Value, ...]:
    axis = dim % len(input.shape)
    site.freeze(input.dims[axis])
    return tuple(Value(shape, (*input.dims[:axis], *input.dims[axis + 1 :])) for shape in site.shape)


@handles(*_named("narrow"))
def narrow(site: Site, input: Value, dim: int, start: int, length: int) -> Value:
    index = [slice(None)] * (dim % len(input.shape)) + [slice(start, start + length)]
    return _sliced(site, input, tuple(index))


@handles(*_named("select"))
def select(site: Site, input: Value, dim: int, index: int) -> Value:
    return _sliced(site, input, (*[slice(None)] * (dim % len(input.shape)), index))


@handles(operator.getitem)
def item(site: Site, whole: Any, index: Any) -> Any:
    return _sliced(site, whole, index) if isinstance(whole, Value) else whole[index]


@handles(Tensor.__getitem__)
def _sliced(site: Site, input: Value, index: Any) -> Value:
    """Basic indexing cuts the indexed dimensions; indexing by tensors or lists freezes them."""
    indices = _spelled_out(index, len(input.shape))
    if any(not isinstance(i, slice | int | type(None)) or isinstance(i, bool) for i in indices):
        return _gathered(site, input, indices)
    dims: list[Extent] = []
    axis = 0
    for i in indices:
        if i is None:
            dims.append(const(1))
            continue
        if isinstance(i, slice):
            dims.append(_slice(site, input.dims[axis], input.shape[axis], i))
        else:
            site.freeze(input.dims[axis])
        axis += 1
    return Value(site.shape, (*dims, *input.dims[axis:]))


def _spelled_out(index: Any, rank: int) -> list[Any]:
    """An index with its ellipsis replaced by the slices that it stands for."""
    indices = list(index) if isinstance(index, tuple) else [index]
    position = next((n for n, i in enumerate(indices) if i is Ellipsis), None)
    if position is not None:
        taken = sum(i is not None and i is not Ellipsis for i in indices)
        indices[position : position + 1] = [slice(None)] * (rank - taken)
    return indices


def _slice(site: Site, extent: Extent, size: int, index: slice) -> Extent:
    start, stop, step = index.indices(size)
    length = len(range(start, stop, step))
    if length == size:
        return extent
    if step > 1 and start < step and length * step == size:
        return site.divide(extent, step)
    if step != 1 or constant(extent):
        site.freeze(extent)
        return const(length)
    lengths = [start, length, size - start - length]
    cuts = site.widths.cut(extent, [piece for piece in lengths if piece], site.reason)
    return cuts[1 if start else 0]


def _gathered(site: Site, input: Value, indices: Sequence[Any]) -> Value:
    for axis, i in enumerate(indices[: len(input.dims)]):
        if i != slice(None):
            site.freeze(input.dims[axis])
    result: Value = site.constant()
    untouched = 0
    while untouched < len(indices) and indices[untouched] == slice(None):
        untouched += 1
    trailing = len(input.dims) - len(indices)
    dims = [*input.dims[:untouched], *result.dims[untouched:]]
    if trailing > 0:
        dims[-trailing:] = input.dims[-trailing:]
    return Value(site.shape, tuple(dims[: len(site.shape)]))


@handles(Tensor.__setitem__)
def assign(site: Site, target: Value, index: Any, source: Any) -> Value:
    if isinstance(source, Value) and len(source.shape) == len(target.shape):
        indices = _spelled_out(index, len(target.shape))
        for axis, extent in enumerate(source.dims):
            i = indices[axis] if axis < len(indices) else slice(None)
            if isinstance(i, slice) and source.shape[axis] > 1:
                site.tie(_slice(site, target.dims[axis], target.shape[axis], i), extent)
    elif isinstance(source, Value):
        site.freeze(*source.dims, *target.dims)
    return target


# -- shapes ------------------------------------------------------------------------------------------------------------


@handles(*_named("view", "reshape", "flatten", "unflatten", "reshape_as", "view_as", "ravel", "_unsafe_view"))
def reshape(site: Site, input: Value, *args: Any, **kwargs: Any) -> Value:
    """Dimensions are merged and split where their lengths say so; a length of 1 may come and go anywhere."""
    if args and isinstance(args[0], torch.dtype):
        return input
    own = [axis for axis, size in enumerate(input.shape) if size != 1]
    new = [axis for axis, size in enumerate(site.shape) if size != 1]
    dims: list[Extent] = [const(1)] * len(site.shape)
    while own and new:
        ins, outs = [own.pop(0)], [new.pop(0)]
        while (have := math.prod(input.shape[a] for a in ins)) != (want := math.prod(site.shape[a] for a in outs)):
            (ins if have < want else outs).append((own if have < want else new).pop(0))
        regrouped = _regroup(site, [input.dims[a] for a in ins], [site.shape[a] for a in outs])
        for axis, extent in zip(outs, regrouped, strict=True):
            dims[axis] = extent
    return Value(site.shape, tuple(dims))


def _regroup(site: Site, extents: list[Extent], sizes: list[int]) -> list[Extent]:
    merged = extents[0] if len(extents) == 1 else site.widths.multiply(extents)
    if merged is None:
        site.freeze(*extents)
        return [const(size) for size in sizes]
    merged = site.widths.resolve(merged)
    if len(sizes) == 1:
        return [merged]
    split = _split_term(site, merged[0], sizes) if len(merged) == 1 else _split_sum(site, merged, sizes)
    if split is None:
        site.freeze(merged)
        return [const(size) for size in sizes]
    return split


def _split_term(site: Site, term: Term, sizes: list[int]) -> list[Extent] | None:
    """Deal the factors of a product out to dimensions of these lengths.

    A width that has to be split (channels into groups and the rest) scales in its inner piece; the outer is a number.
    """
    queue = list(term)
    result: list[Extent] = []
    for size in sizes:
        piece: list[Any] = []
        missing = size
        while missing > 1:
            if not queue:
                return None
            factor = queue.pop(0)
            length = site.widths.size(((factor,),))
            if missing % length == 0:
                piece.append(factor)
                missing //= length
            elif length % missing == 0:
                piece.append(missing)
                if isinstance(factor, Part):
                    site.widths.divisible(((factor,),), missing)
                    queue.insert(0, Part(factor.width, factor.den * missing))
                else:
                    queue.insert(0, factor // missing)
                missing = 1
            else:
                return None
        result.append((tuple(piece),) if piece else const(1))
    return result if not any(site.widths.size(((factor,),)) > 1 for factor in queue) else None


def _split_sum(site: Site, extent: Extent, sizes: list[int]) -> list[Extent] | None:
    """A concat seen as (number of parts, part), or with constants (height, width) split off its inner side."""
    lengths = {site.widths.size((term,)) for term in extent}
    if len(sizes) == 2 and sizes[0] == len(extent) and len(lengths) == 1:
        for term in extent[1:]:
            site.tie((extent[0],), (term,))
        return [const(sizes[0]), site.widths.resolve((extent[0],))]
    inner = math.prod(sizes[1:])
    if all(isinstance(term[-1], int) and term[-1] % inner == 0 for term in extent):
        return [site.divide(extent, inner), *(const(size) for size in sizes[1:])]
    return None


@handles(*_named("permute"))
def permute(site: Site, input: Value, *dims: Any, **kwargs: Any) -> Value:
    order = kwargs.get("dims", dims[0] if dims and isinstance(dims[0], tuple | list) else dims)
    return Value(site.shape, tuple(input.dims[axis] for axis in order))


@handles(*_named("transpose", "transpose_", "swapaxes", "swapdims"))
def transpose(site: Site, input: Value, dim0: int, dim1: int) -> Value:
    dims = list(input.dims)
    dims[dim0], dims[dim1] = dims[dim1], dims[dim0]
    return Value(site.shape, tuple(dims))


@handles(*_named("t"), Tensor.T.__get__, Tensor.mT.__get__)  # type: ignore[attr-defined]
def matrix_transpose(site: Site, input: Value) -> Value:
    return transpose(site, input, -1, -2) if len(input.shape) > 1 else input


@handles(*_named("movedim", "moveaxis"))
def movedim(site: Site, input: Value, source: Any, destination: Any) -> Value:
    rank = len(input.shape)
    sources, destinations = _axes(source, rank), _axes(destination, rank)
    order = [axis for axis in range(rank) if axis not in sources]
    for destination_axis, source_axis in sorted(zip(destinations, sources, strict=True)):
        order.insert(destination_axis, source_axis)
    return Value(site.shape, tuple(input.dims[axis] for axis in order))


@handles(*_named("squeeze", "unsqueeze", "squeeze_", "unsqueeze_"))
def squeeze(site: Site, input: Value, *args: Any, **kwargs: Any) -> Value:
    return reshape(site, input)


@handles(*_named("expand", "expand_as", "broadcast_to"))
def expand(site: Site, input: Value, *args: Any, **kwargs: Any) -> Value:
    """New lengths are numbers by now, but may follow a width through ``x.shape``."""
    others = [value for value in _flat((args, kwargs)) if value.shape == site.shape]
    target = Value(site.shape, tuple(site.widths.loose(size) for size in site.shape))
    return elementwise(site, input, *others, target)


@handles(*_named("repeat", "tile"))
def repeat(site: Site, input: Value, *args: Any, **kwargs: Any) -> Value:
    """Like ``expand`` where a dimension of 1 is repeated; others keep how often they are."""
    new = len(site.shape) - len(input.shape)
    shape, extents = (1,) * new + input.shape, (const(1),) * new + input.dims
    dims = []
    for size, old, extent in zip(site.shape, shape, extents, strict=True):
        repeated = site.widths.loose(size) if old == 1 else site.widths.multiply([const(size // old), extent])
        dims.append(repeated if repeated is not None else const(size))
    return Value(site.shape, tuple(dims))


# -- products ----------------------------------------------------------------------------------------------------------


@handles(*_named("matmul", "bmm", "mm", "__matmul__", "__rmatmul__"))
def matmul(site: Site, left: Value, right: Value) -> Value:
    if len(left.shape) < 2 or len(right.shape) < 2:
        result: Value = unknown(site, left, right)
        return result
    site.tie(left.dims[-1], right.dims[-2])
    dims = list(site.constant().dims)
    for value in (left, right):
        for back in range(3, len(value.dims) + 1):
            if value.shape[-back] > 1:
                dims[-back] = value.dims[-back]
    dims[-2:] = [left.dims[-2], right.dims[-1]]
    site.count(1, *left.dims, right.dims[-1])
    if site.made_of_parameters(1):
        site.layer(right.dims[-1], left.dims[-1], left.shape[1:-1])
    return Value(site.shape, tuple(dims))


@handles(torch.einsum)
def einsum(site: Site, equation: Any, *operands: Any) -> Value:
    """Equal letters have equal lengths; a letter that only a parameter brings makes new channels."""
    values: list[Value] = list(_flat(operands))
    if not isinstance(equation, str):
        result: Value = unknown(site, *values)
        return result
    inputs, output = _einsum_letters(equation, [len(value.shape) for value in values])
    lengths: dict[str, Extent] = {}
    for letters, value in zip(inputs, values, strict=True):
        for letter, size, extent in zip(letters, value.shape, value.dims, strict=True):
            if size > 1 or letter not in lengths:
                known = lengths.get(letter, const(1))
                lengths[letter] = extent if known == const(1) else known
                site.tie(lengths[letter], extent)
    site.count(1, *lengths.values())
    for own, other in (0, 1), (1, 0):
        if len(values) == 2 and site.made_of_parameters(own):
            new = [letter for letter in output if letter not in inputs[other]]
            summed = [letter for letter in inputs[own] if letter in inputs[other] and letter not in output]
            positions = [size for letter, size in zip(output, site.shape, strict=True) if letter not in new]
            if len(new) == len(summed) == 1:
                site.layer(lengths[new[0]], lengths[summed[0]], tuple(positions[1:]))
    return Value(site.shape, tuple(lengths[letter] for letter in output))


def _einsum_letters(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """A letter for every dimension of each operand and of the output, dots and a missing output written out."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    free = [letter for letter in string.ascii_letters if letter not in equation]
    longest = max((rank - len(text) + 3 for text, rank in zip(texts, ranks, strict=True) if "..." in text), default=0)
    dots = "".join(free[:longest])
    inputs = [
        text.replace("...", dots[longest - (rank - len(text) + 3) :]) for text, rank in zip(texts, ranks, strict=True)
    ]
    named = left.replace("...", "").replace(",", "")
    implicit = dots + "".join(sorted(letter for letter in set(named) if named.count(letter) == 1))
    return inputs, right.replace("...", dots) if arrow else implicit


@handles(F.scaled_dot_product_attention)
def attention(site: Site, query: Value, key: Value, value: Value, *args: Any, **kwargs: Any) -> Value:
    site.tie(query.dims[-1], key.dims[-1])
    site.tie(key.dims[-2], value.dims[-2])
    return Value(site.shape, (*query.dims[:-1], value.dims[-1]))


# -- tensors made on the spot ------------------------------------------------------------------------------------------


@handles(
    *_named(
        *"zeros ones empty full rand randn arange linspace tensor eye".split(),
        *"new_zeros new_ones new_empty new_full new_tensor".split(),
    )
)
@handles(*_named("as_tensor", "meshgrid", "one_hot"))
def factory(site: Site, *args: Any, **kwargs: Any) -> Any:
    """Its sizes are numbers by now, but may follow a width through ``x.shape``: assume so, the second capture tells."""
    if site.shape and isinstance(site.shape[0], tuple):
        return site.constant()
    return Value(site.shape, tuple(site.widths.loose(size) for size in site.shape))


def channels_of(extents: Sequence[Extent]) -> set[int]:
    """Indices of the widths in these extents."""
    return {part.width for extent in extents for part in parts(extent)}
