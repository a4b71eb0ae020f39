"""Record one forward pass as a graph of torch calls, parameters and buffers among its inputs.

The model runs on a *skeleton*: a copy whose parameters and buffers are on the meta device, so that nothing is
allocated or computed. Python control flow, ``x.size()`` arithmetic and module attributes simply execute; every torch
call that yields a tensor becomes a node of a ``torch.fx.Graph``.
"""

from __future__ import annotations

import copy
import operator
import os
import random
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from reconfig.errors import CaptureError
from reconfig.meta import FastShapes

_TORCH_FOLDER = os.path.dirname(torch.__file__) + os.sep
_OWN_FOLDER = os.path.dirname(__file__) + os.sep
_OWN_NETWORKS = os.path.join(_OWN_FOLDER, "zoo") + os.sep
_WRITES_IN_PLACE = (Tensor.__setitem__, Tensor.copy_)

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One call of one module: ``nodes[start:stop]`` of the capture ran inside it."""

    path: str
    start: int
    stop: int
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]


@dataclass(frozen=True)
class Capture:
    """A recorded forward pass.

    ``nodes`` holds the torch calls, parameters and inputs in the order in which they were first used. A node's
    ``meta`` has ``shape`` (or a nested tuple of shapes), ``path`` (the module whose forward made the call) and
    ``source`` (file, line).
    ``output`` is what the model returned, tensors replaced by nodes; ``inputs`` and ``training`` say on what and how
    it ran. ``error`` is set where the forward raised; the call that raised is then the last node, and its ``shape`` is
    None.
    """

    graph: fx.Graph
    nodes: tuple[fx.Node, ...]
    calls: tuple[Call, ...]
    output: Any
    inputs: tuple[Tensor, ...]
    training: bool
    error: Exception | None = None

    @property
    def batch(self) -> int:
        """Number of examples that it ran on."""
        return self.inputs[0].shape[0] if self.inputs[0].dim() else 1

    def used(self) -> frozenset[str]:
        """Names of the parameters and buffers that took part."""
        return frozenset(node.target for node in self.nodes if node.op == "get_attr" and isinstance(node.target, str))


def tensors_of(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, then buffers, by name; a shared tensor comes once, under its first name."""
    modules = list(model.named_modules())
    for kind in ("_parameters", "_buffers"):
        seen: set[int] = set()
        for path, module in modules:
            for name, tensor in vars(module)[kind].items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield f"{path}.{name}" if path else name, tensor


def tensors_by_name(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers under all of their names, shared ones too."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def clone(model: nn.Module, replace: Callable[[str, Tensor], Tensor]) -> nn.Module:
    """A deep copy of ``model`` in which every parameter and buffer is ``replace(name, tensor)`` instead of a copy.

    The old tensors are never copied, so a skeleton costs no storage. Hooks stay behind, except those of
    ``torch.nn.utils`` that compute parameters: a hook is the caller's business with the caller's model.
    """
    memo: dict[int, Any] = {}
    for name, tensor in tensors_of(model):
        new = replace(name, tensor)
        if isinstance(tensor, nn.Parameter) and not isinstance(new, nn.Parameter):
            new = nn.Parameter(new, requires_grad=tensor.requires_grad)
        memo[id(tensor)] = new
    modules = list(model.modules())
    for module in modules:
        # A computed weight kept as a plain attribute (old-style weight_norm) has a history, which cannot be copied.
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf and id(value) not in memo:
                memo[id(value)] = value.detach().clone()
        for registry in _hook_registries(module):
            memo.update({id(hook): hook for hook in registry.values() if not _computes_parameters(hook)})
    _copy_modules(modules, memo)
    result = copy.deepcopy(model, memo)
    for module in result.modules():
        for registry in _hook_registries(module):
            for key in [key for key, hook in registry.items() if not _computes_parameters(hook)]:
                del registry[key]
                for options in (
                    "_forward_hooks_with_kwargs",
                    "_forward_hooks_always_called",
                    "_forward_pre_hooks_with_kwargs",
                ):
                    vars(module)[options].pop(key, None)
    return result


_ATOMS = (int, float, bool, str, bytes, type(None))


def _copy_modules(modules: Sequence[nn.Module], memo: dict[int, Any]) -> None:
    """Enter copies of ``modules`` into the memo of a deepcopy.

    They are what deepcopy itself would make, in a fraction of its time: empty ones first, so that they can refer to
    each other, then their attributes. A class that says how it is copied is left to deepcopy.
    """
    plain = [module for module in modules if _copies_plainly(type(module))]
    memo.update({id(module): type(module).__new__(type(module)) for module in plain})
    for module in plain:
        vars(memo[id(module)]).update({name: _copied(value, memo) for name, value in vars(module).items()})


def _copies_plainly(kind: type[nn.Module]) -> bool:
    own = any(hasattr(kind, name) for name in ("__deepcopy__", "__copy__"))
    changed = any(
        getattr(kind, name, None) is not getattr(nn.Module, name, None)
        for name in ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__new__")
    )
    return not own and not changed


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    if type(value) in _ATOMS:
        return value
    if type(value) in (dict, OrderedDict) and id(value) not in memo:
        memo[id(value)] = new = type(value)()
        new.update({key: _copied(item, memo) for key, item in value.items()})
        return new
    return copy.deepcopy(value, memo)


def _hook_registries(module: nn.Module) -> Iterator[dict[int, Any]]:
    for name in ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks"):
        yield vars(module)[name]


def _computes_parameters(hook: object) -> bool:
    return type(hook).__module__.startswith("torch.nn.utils")


def skeleton(model: nn.Module, device: str = "meta") -> nn.Module:
    """``model`` with all its tensors on ``device``, in eval mode. On meta it allocates no parameter storage."""

    def moved(_: str, tensor: Tensor) -> Tensor:
        if device != "meta":
            return tensor.detach().to(device, copy=True)
        return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta")

    result = clone(model, moved)
    for module in result.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor) and value.device.type != device:
                setattr(module, name, value.detach().to(device))
    return result.eval()


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Leave torch's, numpy's and Python's random states as they were found."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def capture(model: nn.Module, inputs: tuple[Tensor, ...], *, training: bool = False) -> Capture:
    """Run ``model`` (a skeleton) on ``inputs`` (meta tensors) and record it.

    An exception in the model's forward does not propagate; it is returned as ``Capture.error`` beside what was
    recorded up to it.
    """
    recorder = _Recorder(model, inputs)
    output, error = None, None
    model.train(training)
    try:
        with recorder.module_hooks(model), preserved_rng(), torch.no_grad(), FastShapes(), recorder:
            output = model(*inputs)
    except Exception as raised:
        error = raised
    finally:
        model.eval()
    return recorder.finish(output, training, error)


@dataclass
class _Open:
    """A module call that has not returned yet."""

    path: str
    start: int
    inputs: tuple[Shape, ...]


@dataclass
class _Recorder(TorchFunctionMode):
    model: nn.Module
    inputs: tuple[Tensor, ...]
    graph: fx.Graph = field(default_factory=fx.Graph)
    nodes: list[fx.Node] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._names = {id(tensor): name for name, tensor in tensors_of(self.model)}
        self._factories = _device_constructors()
        self._known: dict[int, fx.Node] = {}
        self._alive: list[Tensor] = []  # an id is only an identity while its tensor lives
        self._stack = [_Open("", 0, ())]
        for index, tensor in enumerate(self.inputs):
            self._record("placeholder", f"input_{index}", (), {}, tensor)

    # -- nodes ------------------------------------------------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self._factories and kwargs.get("device") is None:
            # As under `with device:`, whose mode of its own would slow every call down.
            kwargs = {**kwargs, "device": self.inputs[0].device}
        try:
            result = func(*args, **kwargs)
        except Exception:
            self._record("call_function", func, args, kwargs, None)
            raise
        if isinstance(result, Tensor):
            self._record("call_function", func, args, kwargs, result)
        elif isinstance(result, tuple | list) and any(isinstance(item, Tensor) for item in result):
            whole = self._record("call_function", func, args, kwargs, result)
            for index, item in enumerate(result):
                if isinstance(item, Tensor):
                    self._record("call_function", operator.getitem, (whole, index), {}, item)
        elif func in _WRITES_IN_PLACE:
            self._record("call_function", func, args, kwargs, args[0])
        return result

    def _record(self, op: str, target: Any, args: Any, kwargs: Any, result: Any) -> fx.Node:
        node = self.graph.create_node(op, target, self._nodes_for(args), self._nodes_for(kwargs))
        node.meta = {"shape": _shape(result), "path": self._stack[-1].path, "source": _source()}
        self.nodes.append(node)
        if isinstance(result, Tensor):
            self._known[id(result)] = node
            self._alive.append(result)
        return node

    def _nodes_for(self, value: Any) -> Any:
        """``value`` with every tensor in it replaced by its node."""
        if isinstance(value, Tensor):
            return self._known.get(id(value)) or self._introduce(value)
        if isinstance(value, tuple | list):
            return type(value)(self._nodes_for(item) for item in value) if type(value) in (tuple, list) else value
        if isinstance(value, dict):
            return {key: self._nodes_for(item) for key, item in value.items()}
        return value

    def _introduce(self, tensor: Tensor) -> fx.Node:
        """A tensor that no recorded call made: a parameter or buffer, or else a constant of the model's own."""
        name = self._names.get(id(tensor))
        if name is None:
            return self._record("placeholder", "constant", (), {}, tensor)
        return self._record("get_attr", name, (), {}, tensor)

    # -- modules ----------------------------------------------------------------------------------------------------

    @contextmanager
    def module_hooks(self, model: nn.Module) -> Iterator[None]:
        paths = {id(module): path for path, module in model.named_modules()}

        def enter(module: nn.Module, args: Any) -> None:
            self._stack.append(_Open(paths[id(module)], len(self.nodes), _shapes(args)))

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            opened = self._stack.pop()
            self.calls.append(Call(opened.path, opened.start, len(self.nodes), opened.inputs, _shapes(output)))

        handles = []
        for module in model.modules():
            if isinstance(module, torch.jit.ScriptModule):
                raise CaptureError(
                    f"module {paths[id(module)] or '(root)'!r} is a TorchScript module, whose calls cannot be seen: "
                    "build the model without torch.jit.script and call reconfig.apply before scripting"
                )
            handles.append(module.register_forward_pre_hook(enter, prepend=True))
            handles.append(module.register_forward_hook(leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def finish(self, output: Any, training: bool, error: Exception | None) -> Capture:
        returned = self._nodes_for(output)
        return Capture(self.graph, tuple(self.nodes), tuple(self.calls), returned, self.inputs, training, error)


def _shape(result: Any) -> Any:
    if isinstance(result, Tensor):
        return tuple(result.shape)
    if isinstance(result, tuple | list):
        return tuple(_shape(item) for item in result)
    return None


def _shapes(value: Any) -> tuple[Shape, ...]:
    """The shapes of the tensors in ``value``, flat, in order."""
    if isinstance(value, Tensor):
        return (tuple(value.shape),)
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        return tuple(shape for item in value for shape in _shapes(item))
    return ()


def _source() -> tuple[str, int]:
    """Where in the model's own code we are: the innermost frame that is neither torch's nor ours."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((_TORCH_FOLDER, _OWN_FOLDER)) or name.startswith(_OWN_NETWORKS):
            return name, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return "", 0
