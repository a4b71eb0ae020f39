"""Record one forward pass as a graph of torch calls, parameters and buffers among its inputs.

The model runs on a *skeleton*: a copy whose parameters and buffers are on the meta device, so that nothing is
allocated or computed. Python control flow, ``x.size()`` arithmetic and module attributes simply execute; every torch
call that yields a tensor becomes a node of a ``torch.fx.Graph``.
"""

from __future__ import annotations

import operator
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from reconfig.meta import FastShapes, answer
from reconfig.skeleton import modules_of, tensors_of

_TORCH_FOLDER = os.path.dirname(torch.__file__) + os.sep
_OWN_FOLDER = os.path.dirname(__file__) + os.sep
_OWN_NETWORKS = os.path.join(_OWN_FOLDER, "zoo") + os.sep
_WRITES_IN_PLACE = (Tensor.__setitem__, Tensor.copy_)
_ATOMS = frozenset({int, float, bool, str, type(None), fx.Node})

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


@contextmanager
def running(model: nn.Module, mode: CallWatcher, *, training: bool) -> Iterator[None]:
    """For a forward of ``model`` (a skeleton) under ``mode``, in training or in eval mode; in eval mode afterwards."""
    model.train(training)  # also where it is in this mode: some models let go here of what they keep between runs
    try:
        with preserved_rng(), torch.no_grad(), FastShapes(), mode:
            yield
    finally:
        if training:
            model.eval()


class CallWatcher(TorchFunctionMode):
    """Sees every torch call of a forward on ``device``; tensors that are made without a device are made there."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device
        self._factories = _device_constructors()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self._factories and kwargs.get("device") is None:
            # As under `with device:`, whose mode of its own would slow every call down.
            kwargs = {**kwargs, "device": self._device}
        try:
            result = answer(func, args, kwargs)
            if result is NotImplemented:
                result = func(*args, **kwargs)
        except Exception:
            self.saw(func, args, kwargs, None)
            raise
        if isinstance(result, Tensor) or (
            isinstance(result, tuple | list) and any(isinstance(item, Tensor) for item in result)
        ):
            self.saw(func, args, kwargs, result)
        elif func in _WRITES_IN_PLACE:
            self.saw(func, args, kwargs, args[0])
        return result

    def saw(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """A call gave a tensor, or several; None where it raised."""
        raise NotImplementedError


def capture(model: nn.Module, inputs: tuple[Tensor, ...], *, training: bool = False) -> Capture:
    """Run ``model`` (a skeleton) on ``inputs`` (meta tensors) and record it.

    An exception in the model's forward does not propagate; it is returned as ``Capture.error`` beside what was
    recorded up to it.
    """
    recorder = _Recorder(model, inputs)
    output, error = None, None
    try:
        with recorder.module_hooks(model), running(model, recorder, training=training):
            output = model(*inputs)
    except Exception as raised:
        error = raised
    return recorder.finish(output, training, error)


@dataclass
class _Open:
    """A module call that has not returned yet."""

    path: str
    start: int
    inputs: tuple[Shape, ...]


class _Recorder(CallWatcher):
    """Writes the calls down."""

    def __init__(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        super().__init__(inputs[0].device)
        self.inputs = inputs
        self.graph = fx.Graph()
        self.nodes: list[fx.Node] = []
        self.calls: list[Call] = []
        self._names = {id(tensor): name for name, tensor in tensors_of(model)}
        self._known: dict[int, fx.Node] = {}
        self._alive: list[Tensor] = []  # an id is only an identity while its tensor lives
        self._stack = [_Open("", 0, ())]
        for index, tensor in enumerate(inputs):
            self._record("placeholder", f"input_{index}", (), {}, tensor)

    # -- nodes ------------------------------------------------------------------------------------------------------

    def saw(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        node = self._record("call_function", func, args, kwargs, result)
        if isinstance(result, tuple | list):
            for index, item in enumerate(result):
                if isinstance(item, Tensor):
                    self._record("call_function", operator.getitem, (node, index), {}, item)

    def _record(self, op: str, target: Any, args: Any, kwargs: Any, result: Any) -> fx.Node:
        inputs, options = self._nodes_for(args), self._nodes_for(kwargs)
        node = self.graph.create_node(op, target, name=getattr(target, "__name__", str(target)))
        # Given to create_node, the arguments would be searched for symbolic numbers, which takes longer than all this.
        node.args = inputs
        if options:
            node.kwargs = options
        node.meta.update(shape=shape_of(result), path=self._stack[-1].path, source=_source())
        self.nodes.append(node)
        if isinstance(result, Tensor):
            self._known[id(result)] = node
            self._alive.append(result)
        return node

    def _nodes_for(self, value: Any) -> Any:
        """``value`` with every tensor in it replaced by its node."""
        kind = type(value)
        if kind in _ATOMS:
            return value
        if isinstance(value, Tensor):
            return self._known.get(id(value)) or self._introduce(value)
        if kind is tuple or kind is list:
            return kind([self._nodes_for(item) for item in value])
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
        paths = {module: path for path, module in modules_of(model).items()}

        def enter(module: nn.Module, args: Any) -> None:
            self._stack.append(_Open(paths[module], len(self.nodes), self._shapes(args)))

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            opened = self._stack.pop()
            self.calls.append(Call(opened.path, opened.start, len(self.nodes), opened.inputs, self._shapes(output)))

        handles = []
        for module in paths:
            handles.append(module.register_forward_pre_hook(enter, prepend=True))
            handles.append(module.register_forward_hook(leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _shapes(self, value: Any) -> tuple[Shape, ...]:
        """The shapes of the tensors in ``value``, flat, in order."""
        if isinstance(value, Tensor):
            node = self._known.get(id(value))  # asked for its shape, a tensor would come by here again
            return (node.meta["shape"] if node else tuple(value.shape),)
        if isinstance(value, dict):
            value = value.values()
        elif not isinstance(value, tuple | list):
            return ()
        return tuple([shape for item in value for shape in self._shapes(item)])

    def finish(self, output: Any, training: bool, error: Exception | None) -> Capture:
        returned = self._nodes_for(output)
        return Capture(self.graph, tuple(self.nodes), tuple(self.calls), returned, self.inputs, training, error)


def shape_of(result: Any) -> Any:
    """The shape of a tensor; of several, a tuple with theirs, and None for what is no tensor."""
    if isinstance(result, Tensor):
        return tuple(result.shape)
    if isinstance(result, tuple | list):
        return tuple(shape_of(item) for item in result)
    return None


def _source() -> tuple[str, int]:
    """Where in the model's own code we are: the innermost frame that is neither torch's nor ours."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((_TORCH_FOLDER, _OWN_FOLDER)) or name.startswith(_OWN_NETWORKS):
            return name, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return "", 0
