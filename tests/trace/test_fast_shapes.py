"""Every rule of ``FastShapes`` against torch's own kernels on the meta device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from reconfig import zoo
from reconfig.trace import fast_shapes
from reconfig.trace.fast_shapes import FastShapes
from reconfig.trace.record import capture
from reconfig.trace.skeleton import make_skeleton

aten = torch.ops.aten
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


# -- arguments that fit, for each rule ---------------------------------------------------------------------------------

DIMS = st.integers(1, 5)
SHAPES = st.lists(DIMS, min_size=2, max_size=5).map(tuple)
IMAGES = st.tuples(DIMS, DIMS, DIMS, DIMS)


@st.composite
def _unary(draw: st.DrawFn) -> Arguments:
    return (empty(*draw(SHAPES), dtype=draw(st.sampled_from(DTYPES))),), {}


@st.composite
def _with_number(draw: st.DrawFn) -> Arguments:
    return (*draw(_unary())[0], draw(st.sampled_from([2, 0.5]))), {}


@st.composite
def _broadcast(draw: st.DrawFn) -> Arguments:
    shape, dtype = draw(SHAPES), draw(st.sampled_from(DTYPES))
    left, right = ([1 if draw(st.booleans()) else size for size in shape] for _ in range(2))
    return (empty(*left, dtype=dtype), empty(*right, dtype=dtype)), {}


@st.composite
def _same_shapes(draw: st.DrawFn) -> Arguments:
    first = draw(_unary())[0][0]
    return (first, torch.empty_like(first)), {}


def _gradient(*extra: Any) -> st.SearchStrategy[Arguments]:
    return _same_shapes().map(lambda found: ((*found[0], *extra), {}))


@st.composite
def _batch_norm(draw: st.DrawFn, statistics: bool = True) -> Arguments:
    x = empty(*draw(IMAGES), dtype=draw(st.sampled_from([torch.float32, torch.float64])))
    vector = empty(x.shape[1], dtype=x.dtype)
    affine, training = draw(st.booleans()), not statistics or draw(st.booleans())
    kept = (vector, vector) if statistics else ()
    weights = (vector, vector) if affine else (None, None)
    return (x, *weights, *kept, training, 0.1, 1e-5), {}


@st.composite
def _batch_norm_backward(draw: st.DrawFn) -> Arguments:
    x = empty(*draw(IMAGES))
    vector, wanted = empty(x.shape[1]), [draw(st.booleans()) for _ in range(3)]
    wanted[0] = True  # torch's kernel computes it always
    return (torch.empty_like(x), x, vector, vector, vector, vector, vector, True, 1e-5, wanted), {}


@st.composite
def _layer_norm(draw: st.DrawFn) -> Arguments:
    shape = draw(st.lists(DIMS, min_size=2, max_size=4))
    own = shape[draw(st.integers(1, len(shape) - 1)) :]
    weights = (empty(*own), empty(*own)) if draw(st.booleans()) else (None, None)
    return (empty(*shape), own, *weights, 1e-5), {}


@st.composite
def _mean(draw: st.DrawFn) -> Arguments:
    shape = draw(SHAPES)
    axes = draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    dims = [axis - len(shape) if draw(st.booleans()) else axis for axis in axes]
    return (empty(*shape), dims, draw(st.booleans())), {}


@st.composite
def _cat(draw: st.DrawFn) -> Arguments:
    shape = list(draw(SHAPES))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    tensors = []
    for _ in range(draw(st.integers(1, 4))):
        shape[axis] = draw(DIMS)
        tensors.append(empty(*shape))
    return (tensors, axis), {}


@st.composite
def _convolution(draw: st.DrawFn) -> tuple[Tensor, Tensor, bool, tuple[Any, ...]]:
    groups = draw(st.integers(1, 3))
    x = empty(draw(DIMS), groups * draw(DIMS), draw(st.integers(3, 6)), draw(st.integers(3, 6)))
    weight = empty(groups * draw(DIMS), x.shape[1] // groups, draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    stride, padding = draw(st.integers(1, 2)), draw(st.integers(0, 2))
    options = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups)
    return x, weight, draw(st.booleans()), options


@st.composite
def _convolution_backward(draw: st.DrawFn) -> Arguments:
    x, weight, bias, options = draw(_convolution())
    out = aten.convolution.default(x, weight, None, *options)
    wanted = [draw(st.booleans()), draw(st.booleans()), bias and draw(st.booleans())]
    return (torch.empty_like(out), x, weight, [weight.shape[0]] if bias else None, *options, wanted), {}


FITTING: dict[str, st.SearchStrategy[Arguments]] = {
    **dict.fromkeys("add.Tensor sub.Tensor mul.Tensor div.Tensor".split(), _broadcast() | _with_number()),
    **dict.fromkeys("add_.Tensor mul_.Tensor div_.Tensor".split(), _same_shapes()),
    **dict.fromkeys("pow.Tensor_Scalar add.Scalar sub.Scalar mul.Scalar div.Scalar".split(), _with_number()),
    **dict.fromkeys(
        "sigmoid_backward tanh_backward silu_backward hardswish_backward hardsigmoid_backward mish_backward".split(),
        _gradient(),
    ),
    "gelu_backward": _gradient(),
    "threshold_backward": _gradient(0),
    "hardtanh_backward": _gradient(-1, 1),
    "leaky_relu_backward": _gradient(0.1, False),
    "elu_backward": _same_shapes().map(lambda found: ((found[0][0], 1.0, 1, 1, False, found[0][1]), {})),
    "softplus_backward": _gradient(1, 20),
    "native_batch_norm": _batch_norm(),
    "_native_batch_norm_legit": _batch_norm(),
    "_native_batch_norm_legit.no_stats": _batch_norm(statistics=False),
    "native_batch_norm_backward": _batch_norm_backward(),
    "native_layer_norm": _layer_norm(),
    "mean.dim": _mean(),
    "cat": _cat(),
    "convolution": _convolution().map(
        lambda found: ((*found[:2], empty(len(found[1])) if found[2] else None, *found[3]), {})
    ),
    "convolution_backward": _convolution_backward(),
}


def name_of(func: Any) -> str:
    return func.name().removeprefix("aten::").removesuffix(".default")


RULES = sorted(fast_shapes._RULES, key=name_of)


def described(value: Any) -> Any:
    """What has to agree: shape, stride, dtype, device."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.stride(), value.dtype, value.device.type
    if isinstance(value, tuple | list):
        return [described(item) for item in value]
    return value


@pytest.mark.parametrize("func", RULES, ids=name_of)
def test_rule_gives_what_torch_gives(func: Any) -> None:
    """On arguments that fit, the rule answers, and as torch's kernel does."""

    @given(FITTING.get(name_of(func), _unary()))
    @settings(max_examples=40, deadline=None, database=None)
    def agrees(arguments: Arguments) -> None:
        args, kwargs = arguments
        try:
            expected = described(func(*args, **kwargs))
        except (RuntimeError, ValueError, ArithmeticError) as error:
            # E.g. one value for each channel: torch refuses, and so must we.
            with FastShapes(), pytest.raises(type(error)):
                func(*args, **kwargs)
            return
        answered.append(fast_shapes._RULES[func](*args) is not NotImplemented)
        with FastShapes():
            assert described(func(*args, **kwargs)) == expected

    answered: list[bool] = []
    agrees()
    assert any(answered), "the rule never answered"


# -- calls as models make them -----------------------------------------------------------------------------------------


@st.composite
def _activation_call(draw: st.DrawFn) -> Arguments:
    """With options, as modules pass them: by place or by name."""
    x = draw(_unary())[0][0]
    return draw(st.sampled_from([((x,), {}), ((x, False), {}), ((x, True), {}), ((x,), {"inplace": True})]))


@st.composite
def _sloped_call(draw: st.DrawFn, *numbers: float) -> Arguments:
    args = (*draw(_unary())[0], *numbers)
    return draw(st.sampled_from([(args, {}), ((*args, True), {}), (args, {"inplace": True})]))


@st.composite
def _normalised_call(draw: st.DrawFn) -> Arguments:
    (x, weight, bias, mean, var, training, *_), _ = draw(_batch_norm())
    statistics = draw(st.sampled_from([(mean, var), (None, None)]))
    return (x, *statistics, weight, bias, training, 0.1, 1e-5), {}


@st.composite
def _convolution_arguments(draw: st.DrawFn, positions: int) -> Arguments:
    groups, kernel = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    x = empty(draw(DIMS), groups * draw(DIMS), *(draw(st.integers(2, 7)) for _ in range(positions)))
    weight = empty(groups * draw(DIMS), x.shape[1] // groups, *[kernel] * positions)
    bias = empty(weight.shape[0]) if draw(st.booleans()) else None
    option = st.integers(1, 2) | st.tuples(*[st.integers(1, 2)] * positions)
    padding = st.integers(0, 2) | st.tuples(*[st.integers(0, 2)] * positions) | st.sampled_from(["same", "valid"])
    return (x, weight, bias, draw(option), draw(padding), draw(option), groups), {}


@st.composite
def _linear_call(draw: st.DrawFn) -> Arguments:
    x, out = empty(*draw(SHAPES)), draw(DIMS)
    return (x, empty(out, x.shape[-1]), draw(st.sampled_from([None, empty(out)]))), {}


@st.composite
def _pooling_call(draw: st.DrawFn) -> Arguments:
    return (empty(*draw(IMAGES)), draw(DIMS | st.tuples(DIMS, DIMS) | st.just((None, 1)))), {}


@st.composite
def _mean_call(draw: st.DrawFn) -> Arguments:
    (x, dims, keepdim), _ = draw(_mean())
    dim = draw(st.sampled_from([dims, tuple(dims), dims[0], None]))
    return draw(st.sampled_from([((x, dim, keepdim), {}), ((x,), {"dim": dim, "keepdim": keepdim}), ((x,), {})]))


_SLOPED = {"leaky_relu": (0.1,), "hardtanh": (-1.0, 1), "elu": (1.0,)}
_IN_PLACE_FUNCTIONALS = "relu relu6 silu hardswish hardsigmoid mish".split()
CALL_ARGUMENTS: dict[str, st.SearchStrategy[Arguments]] = {
    **{f"{name}_": _broadcast() | _with_number() for name in "add sub mul div".split()},
    **{f"__i{name}__": _broadcast() | _with_number() for name in "add sub mul div truediv".split()},
    **dict.fromkeys("add sub mul div true_divide".split(), _broadcast() | _with_number()),
    **{f"__{name}__": _broadcast() | _with_number() for name in "add radd sub mul rmul truediv".split()},
    "batch_norm": _normalised_call(),
    "layer_norm": _layer_norm(),
    "mean": _mean_call(),
    "adaptive_avg_pool2d": _pooling_call(),
    **dict.fromkeys(("cat", "concat"), _cat()),
    "linear": _linear_call(),
    **{f"conv{positions}d": _convolution_arguments(positions) for positions in (1, 2, 3)},
}


def _laid_out(tensor: Tensor) -> Any:
    """Like ``described``, but for steps along dimensions of one, which lead nowhere."""
    steps = [step for size, step in zip(tensor.shape, tensor.stride(), strict=True) if size > 1]
    return tuple(tensor.shape), steps, tensor.dtype, tensor.device.type


def arguments_of(call: Any) -> st.SearchStrategy[Arguments]:
    functional = getattr(nn.functional, call.__name__, None) is call
    if functional and call.__name__ in _SLOPED:
        return _sloped_call(*_SLOPED[call.__name__])
    if functional and call.__name__ in _IN_PLACE_FUNCTIONALS:
        return _activation_call()
    return CALL_ARGUMENTS.get(call.__name__, _unary())


@st.composite
def _perturbed(draw: st.DrawFn, strategy: st.SearchStrategy[Arguments]) -> Arguments:
    """Arguments of which one tensor may be of another shape, dtype or layout, so that they may not fit any more."""
    args, kwargs = draw(strategy)
    places = [place for place, item in enumerate(args) if isinstance(item, Tensor) and item.dim()]
    if not places or draw(st.booleans()):
        return args, kwargs
    place = draw(st.sampled_from(places))
    tensor, shape = args[place], list(args[place].shape)
    axis = draw(st.integers(0, len(shape) - 1))
    shape[axis] += draw(st.integers(-1, 1))
    other = draw(
        st.sampled_from(
            [
                empty(*shape, dtype=tensor.dtype),
                tensor.double(),
                tensor.transpose(0, -1),
                tensor[0],
                torch.empty(tensor.shape, dtype=torch.int64, device="meta"),
            ]
        )
    )
    return (*args[:place], other, *args[place + 1 :]), kwargs


@pytest.mark.parametrize("call", fast_shapes._CALLS, ids=lambda call: call.__name__)
def test_an_answer_is_what_torch_gives(call: Any) -> None:
    @given(_perturbed(arguments_of(call)))
    @settings(max_examples=30, deadline=None, database=None)
    def agrees(arguments: Arguments) -> None:
        args, kwargs = arguments
        with torch.no_grad():
            found = fast_shapes.answer(call, args, kwargs)
            if found is NotImplemented:
                return
            expected = call(*args, **kwargs)
        answered.append(True)
        assert _laid_out(found) == _laid_out(expected)
        assert (found is args[0]) == (expected is args[0]), "it is, or is not, the same tensor"

    answered: list[bool] = []
    agrees()
    assert answered, "it was never answered"


class _Own(Tensor):
    """Tensors that may do something else when they are called on."""


def test_what_is_not_answered() -> None:
    """Where gradients are recorded, on other devices, for tensors of a class of their own."""
    assert fast_shapes.answer(nn.functional.relu, (empty(2, 3),), {}) is NotImplemented
    with torch.no_grad():
        assert fast_shapes.answer(nn.functional.relu, (empty(2, 3),), {}) is not NotImplemented
        assert fast_shapes.answer(nn.functional.relu, (torch.ones(2, 3),), {}) is NotImplemented
        assert fast_shapes.answer(nn.functional.relu, (empty(2, 3).as_subclass(_Own),), {}) is NotImplemented


# -- misfits -----------------------------------------------------------------------------------------------------------


def refused(func: Callable[..., Any], *args: Any) -> bool:
    try:
        func(*args)
    except (RuntimeError, ValueError, IndexError):
        return True
    return False


@given(SHAPES, SHAPES, st.sampled_from("add.Tensor mul.Tensor add_.Tensor mul_.Tensor div.Tensor".split()))
@settings(deadline=None)
def test_any_two_shapes_are_added_or_refused_as_by_torch(
    left: tuple[int, ...], right: tuple[int, ...], name: str
) -> None:
    packet, _, overload = name.partition(".")
    func = getattr(getattr(aten, packet), overload)
    plain = refused(func, empty(*left), empty(*right))
    with FastShapes():
        assert refused(func, empty(*left), empty(*right)) == plain
        if not plain:
            assert func(empty(*left), empty(*right)).shape == torch.broadcast_shapes(left, right)


@given(st.lists(SHAPES, min_size=1, max_size=3), st.integers(-6, 5))
@settings(deadline=None)
def test_any_shapes_are_joined_or_refused_as_by_torch(shapes: list[tuple[int, ...]], axis: int) -> None:
    tensors = [empty(*shape) for shape in shapes]
    plain = refused(aten.cat.default, tensors, axis)
    with FastShapes():
        assert refused(aten.cat.default, tensors, axis) == plain
        if not plain:
            joined = aten.cat.default(tensors, axis)
    if not plain:
        assert described(joined) == described(aten.cat.default(tensors, axis))


@given(SHAPES, st.lists(st.integers(-6, 5), max_size=3), st.booleans())
@settings(deadline=None)
def test_any_mean_is_taken_or_refused_as_by_torch(shape: tuple[int, ...], dims: list[int], keep: bool) -> None:
    x = empty(*shape)
    plain = refused(aten.mean.dim, x, dims, keep)
    with FastShapes():
        assert refused(aten.mean.dim, x, dims, keep) == plain
        if not plain:
            shorter = aten.mean.dim(x, dims, keep)
    if not plain:
        assert described(shorter) == described(aten.mean.dim(x, dims, keep))


MISFITS: dict[str, Callable[[], Any]] = {
    "batch norm, statistics": lambda: nn.functional.batch_norm(empty(2, 8, 4, 4), empty(7), empty(7)),
    "batch norm, weight": lambda: nn.functional.batch_norm(
        empty(2, 8, 4, 4), empty(8), empty(8), empty(7), empty(7), True
    ),
    "batch norm, no statistics in eval mode": lambda: nn.functional.batch_norm(empty(2, 8), None, None),
    "batch norm, one value": lambda: nn.functional.batch_norm(empty(1, 8), empty(8), empty(8), training=True),
    "layer norm": lambda: nn.functional.layer_norm(empty(2, 8), [7]),
    "layer norm, weight": lambda: nn.functional.layer_norm(empty(2, 8), [8], empty(7)),
    "layer norm, too many dimensions": lambda: nn.functional.layer_norm(empty(8), [8, 8]),
    "group norm": lambda: nn.functional.group_norm(empty(2, 8, 4, 4), 3),
    "convolution": lambda: nn.functional.conv2d(empty(2, 8, 4, 4), empty(4, 7, 3, 3)),
    "convolution, groups": lambda: nn.functional.conv2d(empty(2, 8, 4, 4), empty(4, 4, 3, 3), groups=4),
    "linear": lambda: nn.functional.linear(empty(2, 8), empty(4, 7)),
    "matmul": lambda: empty(2, 8) @ empty(7, 2),
    "add": lambda: empty(2, 8) + empty(2, 7),
    "add in place, broadcast of the left": lambda: empty(1, 8).add_(empty(2, 8)),
    "cat": lambda: torch.cat([empty(2, 8, 4, 4), empty(2, 8, 4, 5)], 1),
    "cat of nothing": lambda: torch.cat([], 1),
    "view": lambda: empty(2, 8).view(3, 5),
    "mean": lambda: empty(2, 8).mean(2),
    "mean of integers": lambda: torch.empty(2, 8, dtype=torch.int64, device="meta").mean(1),
    "mean twice over one dimension": lambda: empty(2, 8).mean((1, -1)),
}


@pytest.mark.parametrize("call", MISFITS.values(), ids=MISFITS)
def test_what_does_not_fit_raises_as_in_torch(call: Callable[[], Any]) -> None:
    with pytest.raises(Exception) as plain:  # noqa: PT011 - whatever torch says
        call()
    with FastShapes(), pytest.raises(type(plain.value)) as fast:
        call()
    assert str(fast.value) == str(plain.value)


def test_other_dtypes_layouts_and_devices_are_left_to_torch() -> None:
    mixed = empty(2, 3), empty(2, 3, dtype=torch.float64)
    last = empty(2, 3, 4, 4).to(memory_format=torch.channels_last)
    with FastShapes():
        assert (mixed[0] + mixed[1]).dtype == torch.float64
        assert (last + last).is_contiguous(memory_format=torch.channels_last)
        assert torch.relu(last).is_contiguous(memory_format=torch.channels_last)
        assert (torch.arange(3, device="meta") + torch.arange(3, device="meta")).dtype == torch.int64
        assert (torch.arange(3, device="meta") / 2).dtype == torch.float32
        assert torch.ones(2, 3).add(1).tolist() == [[2.0] * 3] * 2
        assert torch.sigmoid(torch.arange(3, device="meta")).dtype == torch.float32


def test_gradients_reach_every_parameter() -> None:
    with torch.device("meta"):
        model = zoo.vgg11()
    with FastShapes():
        model(empty(2, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())


# -- whole networks ----------------------------------------------------------------------------------------------------

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vgg11": zoo.vgg11,
    "densenet": lambda: zoo.DenseNet((2, 2, 2, 2), growth=8),
    "darts": lambda: zoo.darts(cells=3, stem_width=12, cell_widths=(4, 8, 16)),
    "wrn": lambda: zoo.wrn(10, 1),
    "preactresnet18": zoo.preactresnet18,
}
TIMM = ["convnext_atto", "efficientnet_b0", "nfnet_l0", "regnety_002", "mobilevitv2_050", "hrnet_w18_small", "dpn48b"]


def records(model: nn.Module, size: int, training: bool) -> list[Any]:
    found = capture(make_skeleton(model), (empty(2, 3, size, size),), training=training)
    assert found.error is None
    return [(node.target, node.meta["shape"]) for node in found.nodes]


def agrees_without(model: nn.Module, size: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    for training in (False, True):
        fast = records(model, size, training)
        with monkeypatch.context() as patched:
            patched.setattr(fast_shapes, "_RULES", {})
            patched.setattr(fast_shapes, "_CALLS", {})
            yield fast == records(model, size, training)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_have_the_same_shapes_at_every_call(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        model = NETWORKS[name]()
    assert all(agrees_without(model, 32, monkeypatch))


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM)
def test_timm_networks_have_the_same_shapes_at_every_call(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    assert all(agrees_without(timm.create_model(name, pretrained=False), 128, monkeypatch))
