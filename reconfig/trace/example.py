"""What the model is, and what it is run on: checks of the caller's model and the search for an example input."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.parameter import is_lazy

from reconfig.errors import InputError, ModelError
from reconfig.trace.record import Capture, capture
from reconfig.trace.skeleton import make_skeleton, modules_of, tensors_of

_USUAL_SIZES = (32, 224, 64, 299, 28, 96, 128, 256, 384)
_ROOM = (2, 4, 8)  # how much larger an image is tried
_WRAPPERS = {  # the model inside, and what to wrap the result in
    "DistributedDataParallel": ("model.module", "DistributedDataParallel"),
    "DataParallel": ("model.module", "DataParallel"),
    "FullyShardedDataParallel": ("model.module", "FullyShardedDataParallel"),
    "OptimizedModule": ("model._orig_mod", "torch.compile"),
}


@dataclass(frozen=True)
class Probe:
    """A skeleton of the model with inputs that it runs on, and its first capture."""

    skeleton: nn.Module
    inputs: tuple[Tensor, ...]
    first: Capture

    def captures(self) -> tuple[Capture, ...]:
        """The capture in eval mode and, where parameters are left over (an auxiliary head), one in training mode.

        Raises:
            InputError: where parameters are left over and the model does not run in training mode.
        """
        own = {name for name, _ in tensors_of(self.skeleton, "parameters")}
        if own <= self.first.used():
            return (self.first,)
        training = capture(self.skeleton, self.inputs, training=True)
        if training.error is not None:  # an auxiliary head may need larger images than the rest
            training = capture(self.skeleton, tuple(_enlarged(t, 1.5) for t in self.inputs), training=True)
        if training.error is not None:
            left = sorted(own - self.first.used())
            raise InputError(
                f"{left[0]} and {len(left) - 1} other parameters take no part in eval mode, and in training mode the "
                f"model does not run on {tuple(self.inputs[0].shape)}: {training.error}; "
                "pass an example_input that it trains on"
            )
        return (self.first, training)

    def roomy(self) -> Capture:
        """The first capture, or one of the same calls on a larger image where convolutions are left with one position.

        Resolutions tell stages apart, and at one position there is none: a network of ImageNet's on a 32x32 image ends
        in maps that look like pooled ones. The first capture also where the model takes no larger image.
        """
        factors = _ROOM if self.inputs[0].is_meta and _cramped(self.first) else ()
        for factor in factors:
            larger = capture(make_skeleton(self.skeleton, "meta"), tuple(_enlarged(t, factor) for t in self.inputs))
            if larger.error is not None or not _same_calls(self.first, larger):
                break
            if not _cramped(larger):
                return larger
        return self.first


def _same_calls(left: Capture, right: Capture) -> bool:
    pairs = zip(left.nodes, right.nodes, strict=False)
    return len(left.nodes) == len(right.nodes) and all(a.op == b.op and a.target == b.target for a, b in pairs)


def _enlarged(tensor: Tensor, factor: float) -> Tensor:
    """So many times as large in every position."""
    return tensor.new_empty([*tensor.shape[:2], *(int(size * factor) for size in tensor.shape[2:])])


def check_model(model: object) -> nn.Module:
    """``model`` itself.

    Raises:
        ModelError: where it is no module, is wrapped or not yet initialised; where it or a part of it is scripted or
            wrapped by ``torch.compile``.
    """
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise ModelError(f"model is the class {model.__name__}, not an instance: pass {model.__name__}(...)")
    if not isinstance(model, nn.Module):
        raise ModelError(f"model must be a torch.nn.Module, not {type(model).__name__}: pass the network itself")
    kind = type(model).__name__
    if kind in _WRAPPERS and type(model).__module__.startswith("torch."):
        inner, wrap = _WRAPPERS[kind]
        raise ModelError(
            f"model is wrapped in {kind}: reconfigure first and wrap the result, "
            f"as in {wrap}(reconfig.apply({inner}, ...))"
        )
    check_not_scripted(model)
    for path, module in modules_of(model).items():
        if type(module).__name__ == "OptimizedModule" and type(module).__module__.startswith("torch."):
            raise ModelError(
                f"module {path!r} is wrapped by torch.compile: put back what is inside (._orig_mod) before "
                "reconfig.apply, and compile that part of the result"
            )
    for name, tensor in tensors_of(model):
        if is_lazy(tensor):
            raise ModelError(f"{name!r} has no shape yet: run the model once on an input before reconfig.apply")
    return model


def check_not_scripted(model: nn.Module) -> None:
    """Refuse a model that is, or has in it, a TorchScript module.

    Raises:
        ModelError: it names the module.
    """
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(
                f"{f'module {path!r}' if path else 'model'} is a TorchScript module, whose layers cannot be seen or "
                "resized: make it without torch.jit, as a torch.nn.Module, and script the result of reconfig.apply"
            )


def probe(model: nn.Module, example_input: object) -> Probe:
    """A skeleton of ``model`` and an input on which it runs.

    Raises:
        InputError: where the example input does not fit, or none was given and no usual size works.
    """
    if example_input is not None:
        inputs = _checked(model, example_input)
        return _run(model, inputs, given=True)
    shapes = list(_usual_shapes(model))
    failures = []
    for shape in shapes:
        try:
            found = _run(model, (_input(shape, _dtype(model)),), given=False)
        except InputError as error:
            failures.append(error)
            continue
        if shape is shapes[-1] or not _cramped(found.first):
            return found
    raise InputError(
        f"no usual input size works for {type(model).__name__} (tried {', '.join(str(shape) for shape in shapes)}): "
        f"pass example_input=torch.zeros(1, channels, height, width); the last try said: {failures[-1].__cause__}"
    ) from failures[-1]


def _usual_shapes(model: nn.Module) -> Iterator[tuple[int, ...]]:
    """(channels, height, width): what timm's configuration says, else the first convolution's, at usual sizes."""
    for name in ("default_cfg", "pretrained_cfg"):
        config: Any = getattr(model, name, None)
        size = config.get("input_size") if isinstance(config, dict) else getattr(config, "input_size", None)
        if size is not None:
            yield tuple(size)
            return
    first = _first_kernel(model)
    if first is None:
        raise ModelError(
            f"{type(model).__name__} has no convolution (no parameter of 3 to 5 dimensions): "
            "reconfig scales the stages of convolutional networks"
        )
    channels, spatial = first
    for size in _USUAL_SIZES:
        yield (channels, *[size] * spatial)


def _first_kernel(model: nn.Module) -> tuple[int, int] | None:
    """(channels, spatial dimensions) of what the first convolution takes; None where there is no convolution."""
    for module in model.modules():
        for kernel in module.parameters(recurse=False):
            if kernel.dim() in (3, 4, 5):  # a transposed one has what it takes in front
                return kernel.shape[0 if isinstance(module, _ConvTransposeNd) else 1], kernel.dim() - 2
    return None


def _dtype(model: nn.Module) -> torch.dtype:
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.get_default_dtype())


def _input(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty((2, *shape), dtype=dtype, device="meta")


def _checked(model: nn.Module, example_input: object) -> tuple[Tensor, ...]:
    """The caller's example on meta, at least two examples long (batch norm in training mode needs two)."""
    given = example_input if isinstance(example_input, tuple) else (example_input,)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    inputs = []
    for position, tensor in enumerate(given):
        if not isinstance(tensor, Tensor):
            raise InputError(
                f"example_input must be a tensor or a tuple of tensors, but item {position} is "
                f"{type(tensor).__name__}: "
                "pass e.g. torch.zeros(1, 3, 32, 32)"
            )
        if tensor.device not in (device, torch.device("meta")):
            raise InputError(
                f"example_input is on {tensor.device} and the model on {device}: pass example_input.to('{device}')"
            )
        shape = list(tensor.shape)
        if len(shape) > 1 and shape[0] == 1:
            shape[0] = 2
        inputs.append(torch.empty(shape, dtype=tensor.dtype, device="meta"))
    if not inputs:
        raise InputError("example_input is an empty tuple: pass one tensor for each argument of the model's forward")
    return tuple(inputs)


def _run(model: nn.Module, inputs: tuple[Tensor, ...], given: bool) -> Probe:
    """The model recorded on meta, or, where it needs numbers to run (``.item()``, a fixed device), on the CPU."""
    skeleton = make_skeleton(model, "meta")
    first = capture(skeleton, inputs)
    if first.error is None:
        return Probe(skeleton, inputs, first)
    on_cpu = tuple(torch.zeros(tensor.shape, dtype=tensor.dtype) for tensor in inputs)
    skeleton = make_skeleton(model, "cpu")
    second = capture(skeleton, on_cpu)
    if second.error is None:
        return Probe(skeleton, on_cpu, second)
    shapes = ", ".join(f"{tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}" for tensor in inputs)
    raise InputError(
        f"{type(model).__name__} does not run on {'the example input' if given else 'an input'} {shapes}: "
        f"{second.error}; "
        f"{_hint(model)}"
    ) from second.error


def _hint(model: nn.Module) -> str:
    first = _first_kernel(model)
    if first is None:
        return "pass what you pass to the model in training"
    channels, spatial = first
    sizes = ", ".join(["size"] * spatial)
    dtype = str(_dtype(model)).removeprefix("torch.")
    return (
        f"its first convolution takes {channels} channels of {dtype}: "
        f"pass example_input=torch.zeros(1, {channels}, {sizes}, dtype=torch.{dtype})"
    )


def _cramped(first: Capture) -> bool:
    """Whether a convolution with a real kernel, that does not cover its whole input, is left with one position."""
    for node in first.nodes:
        if getattr(node.target, "__name__", "").startswith("conv") and len(node.args) > 1:
            tensors: list[Any] = list(node.args[:2])
            seen, kernel = (tensor.meta["shape"][2:] for tensor in tensors)
            if math.prod(kernel) not in (1, math.prod(seen)) and math.prod(node.meta["shape"][2:]) == 1:
                return True
    return False
