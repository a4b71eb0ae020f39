"""Record one forward as a tree of module calls and torch calls, with the sizes in it as expressions.

The network runs on a skeleton, as everywhere in reconfig; what is written down here is what the same forward is written
out of. A tensor that a call hands through (dropout in eval mode, an identity) counts as a new one, so that the data
flow of eval and of train mode can be laid beside each other.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors
from torch.utils._pytree import tree_map_only

from reconfig.errors import ExportError
from reconfig.export.code.sizes import Dim, Size, Term, Value, dims, size
from reconfig.trace.fast_shapes import answer
from reconfig.trace.leaves import leaves
from reconfig.trace.skeleton import modules_of, tensors_by_name
from reconfig.trace.watch import preserved_rng

_READS = frozenset(
    {Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__}
)
_SHAPE = Tensor.shape.__get__  # type: ignore[attr-defined]
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


@dataclass(eq=False)
class Op:
    """One torch call. ``result`` has a ``Value`` wherever the call gave a tensor."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    grad: bool


@dataclass(eq=False)
class Alias:
    """A tensor that a module hands through, under a number of its own."""

    source: Value
    target: Value
    grad: bool


@dataclass(eq=False)
class Guard:
    """A comparison of sizes that the code asked for, and how it came out."""

    condition: Term
    holds: bool
    grad: bool


@dataclass(eq=False)
class Call:
    """One call of one module: what it took and gave, and what ran inside it."""

    path: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    grad: bool
    body: list[Statement] = field(default_factory=list)
    output: Any = None


Statement = Op | Alias | Guard | Call


@dataclass(frozen=True)
class Recording:
    """A forward: the network's own call, the tensors in the order in which they came, and those that went in."""

    root: Call
    values: tuple[Value, ...]
    inputs: tuple[Value, ...]


def record(skeleton: nn.Module, inputs: Sequence[Tensor], *, training: bool) -> Recording:
    """The forward of ``skeleton`` on ``inputs``, all on one device, in training or in eval mode.

    Raises:
        ExportError: where the forward reads numbers out of tensors, draws from Python's random numbers, or goes
            through code that torch calls do not show.
    """
    recorder = _Recorder(skeleton, inputs)
    skeleton.train(training)
    with preserved_rng(), recorder.hooks(skeleton), torch.enable_grad():
        before = random.getstate(), np.random.get_state()[1].tobytes()  # type: ignore[index]
        with recorder:
            skeleton(*inputs)
        if before != (random.getstate(), np.random.get_state()[1].tobytes()):  # type: ignore[index]
            raise ExportError("the forward draws from Python's or numpy's random numbers, which torch calls do not")
    return Recording(recorder.root, tuple(recorder.values), recorder.inputs)


class _Recorder(TorchFunctionMode):
    def __init__(self, skeleton: nn.Module, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.values: list[Value] = []
        self._skeleton = skeleton
        self._device = inputs[0].device
        self._factories = _device_constructors()
        self._known: dict[int, Value] = {}
        self._alive: list[Tensor] = []  # an id is only an identity while its tensor lives
        self._names = {id(tensor): name for name, tensor in reversed(tensors_by_name(skeleton).items())}
        for path, module in modules_of(skeleton).items():
            for name, kept in vars(module).items():
                if isinstance(kept, Tensor):
                    self._names.setdefault(id(kept), f"{path}.{name}" if path else name)
        self._open: list[Call] = []
        self._quiet = False
        self.root = Call("", (), {}, grad=True)
        self.inputs = tuple(self._new(tensor) for tensor in inputs)

    # -- torch calls ------------------------------------------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._quiet:
            return func(*args, **kwargs)
        if func == _SHAPE or func is Tensor.size or func in (Tensor.numel, Tensor.nelement, torch.numel):
            return self._sizes(func, args, kwargs)
        if func in _READS:
            raise ExportError(
                f"{self._where()} reads numbers out of a tensor ({func.__name__}), which no file can keep"
            )
        plain_args, plain = tree_map_only(Size, int, (args, kwargs))
        if func in self._factories and kwargs.get("device") is None:
            plain = {**plain, "device": self._device}
        taken = [(tensor, tensor._version) for tensor in leaves((args, kwargs), Tensor)]
        sources = {id(tensor): self._value(tensor) for tensor, _ in taken}
        result = _run(func, plain_args, plain, [tensor for tensor, _ in taken])
        if isinstance(result, Tensor) and any(result is old and old._version == at for old, at in taken):
            result = result.view_as(result)
        if func is Tensor.__setitem__ or any(True for _ in leaves(result, Tensor)):
            described = _replaced((args, kwargs), sources)
            made = _replaced(result, {id(tensor): self._new(tensor) for tensor in leaves(result, Tensor)})
            self._write(Op(func, described[0], described[1], made, torch.is_grad_enabled()))
        return result

    def _sizes(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensor, value = args[0], self._value(args[0])
        found = [size(length, Dim(value, index), self._compared) for index, length in enumerate(tensor.shape)]
        if func == _SHAPE:
            return torch.Size(found)
        if func is Tensor.size:
            dim = args[1] if len(args) > 1 else kwargs.get("dim")
            return torch.Size(found) if dim is None else found[int(dim)]
        count: Any = 1
        for length in found:
            count = count * length
        return count

    def _compared(self, condition: Term, holds: bool) -> None:
        if not self._quiet and any(dims(condition)):
            self._write(Guard(condition, holds, torch.is_grad_enabled()))

    # -- tensors ----------------------------------------------------------------------------------------------------

    def _new(self, tensor: Tensor, name: str = "") -> Value:
        value = Value(len(self.values), tuple(tensor.shape), name)
        self.values.append(value)
        self._known[id(tensor)] = value
        self._alive.append(tensor)
        return value

    def _value(self, tensor: Tensor) -> Value:
        if isinstance(tensor.grad_fn, BackwardCFunction):
            name = type(tensor.grad_fn).__name__.removesuffix("Backward")
            raise ExportError(f"{self._where()} uses an autograd function of its own ({name}), which no file can keep")
        known = self._known.get(id(tensor))
        if known is not None:
            return known
        if id(tensor) not in self._names:
            raise ExportError(
                f"{self._where()} takes a tensor {tuple(tensor.shape)} that neither a torch call made nor a module "
                "keeps: register it as a buffer, and script no function that makes it"
            )
        return self._new(tensor, self._names[id(tensor)])

    def _write(self, statement: Statement) -> None:
        (self._open[-1] if self._open else self.root).body.append(statement)

    def _where(self) -> str:
        path = self._open[-1].path if self._open else ""
        kind = type(self._skeleton.get_submodule(path)).__name__
        frame = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename.startswith((_TORCH, _OWN)):
            frame = frame.f_back  # type: ignore[assignment]
        line = f", {frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}" if frame is not None else ""
        return f"module {path!r} ({kind}{line})" if path else f"the network itself ({kind}{line})"

    # -- modules ----------------------------------------------------------------------------------------------------

    @contextmanager
    def hooks(self, skeleton: nn.Module) -> Iterator[None]:
        """Within, calls of modules are written down."""
        paths = {module: path for path, module in modules_of(skeleton).items()}

        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            with self._silent():
                taken = _replaced((args, kwargs), {id(t): self._value(t) for t in leaves((args, kwargs), Tensor)})
                call = Call(paths[module], taken[0], taken[1], torch.is_grad_enabled())
                if self._open:
                    self._write(call)
                else:
                    self.root = call
                self._open.append(call)

        def leave(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            with self._silent():
                call = self._open[-1]
                inside = _made(call)
                fresh: dict[int, Tensor] = {}
                for tensor in leaves(output, Tensor):
                    source = self._value(tensor)
                    if id(source) not in inside and id(tensor) not in fresh:
                        fresh[id(tensor)] = tensor.view_as(tensor)
                        self._write(Alias(source, self._new(fresh[id(tensor)]), torch.is_grad_enabled()))
                handed = tree_map_only(Tensor, lambda tensor: fresh.get(id(tensor), tensor), output)
                self._open.pop()
                call.output = _replaced(handed, {id(t): self._value(t) for t in leaves(handed, Tensor)})
                return handed if fresh else None

        handles = []
        for module in paths:
            handles.append(module.register_forward_pre_hook(enter, prepend=True, with_kwargs=True))
            handles.append(module.register_forward_hook(leave, with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def _silent(self) -> Iterator[None]:
        self._quiet = True
        try:
            yield
        finally:
            self._quiet = False


def _run(func: Any, args: Any, kwargs: Any, taken: Sequence[Tensor]) -> Any:
    """What a call gives; on meta the usual ones are not asked for, and what they give has a gradient all the same."""
    with torch.no_grad():
        result = answer(func, args, kwargs)
    if result is NotImplemented:
        return func(*args, **kwargs)
    if isinstance(result, Tensor) and result.is_floating_point() and not any(result is tensor for tensor in taken):
        return result.requires_grad_(any(tensor.requires_grad for tensor in taken)).clone()
    return result


_TORCH = torch.__path__[0]
_OWN = __file__.rpartition("code/")[0]


def _made(call: Call) -> set[int]:
    """Identities of the values that a call has made so far."""
    found: set[int] = set()
    for statement in call.body:
        if isinstance(statement, Op):
            found.update(map(id, leaves(statement.result, Value)))
        elif isinstance(statement, Alias):
            found.add(id(statement.target))
        elif isinstance(statement, Call):
            found |= _made(statement)
    return found


def _replaced(item: Any, values: dict[int, Value]) -> Any:
    """``item`` with a ``Value`` for every tensor in it."""
    if isinstance(item, Tensor):
        return values[id(item)]
    if isinstance(item, dict):
        return {key: _replaced(part, values) for key, part in item.items()}
    if isinstance(item, list):
        return [_replaced(part, values) for part in item]
    if isinstance(item, tuple):
        return tuple(_replaced(part, values) for part in item)
    if isinstance(item, slice):
        return slice(*(_replaced(part, values) for part in (item.start, item.stop, item.step)))
    return item
