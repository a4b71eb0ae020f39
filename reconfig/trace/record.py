"""Record one forward pass as a graph of torch calls, parameters and buffers among its inputs.

The model runs on a *skeleton*: a copy whose parameters and buffers are on the meta device, so that nothing is
allocated or computed. Python control flow, ``x.size()`` arithmetic and module attributes simply execute; every torch
call that yields a tensor becomes a node of a ``torch.fx.Graph``.
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from reconfig.trace.leaves import leaves
from reconfig.trace.skeleton import modules_of, tensors_of
from reconfig.trace.watch import CallWatcher, running, shape_of

_TORCH_FOLDER = os.path.dirname(torch.__file__) + os.sep
_OWN_FOLDER = os.path.dirname(os.path.dirname(__file__)) + os.sep
_OWN_NETWORKS = os.path.join(_OWN_FOLDER, "zoo") + os.sep

_FEATURES = "forward_features"  # timm's name for the part of a forward that ends where the head begins

Shape = tuple[int, ...]


class Passed(NamedTuple):
    """A tensor that a module takes or gives: its shape, and the node that made it (None for what no node is known)."""

    shape: Shape
    node: fx.Node | None


@dataclass(frozen=True)
class ModuleCall:
    """One call of one module: ``nodes[start:stop]`` of the capture ran inside it."""

    path: str
    start: int
    stop: int
    inputs: tuple[Passed, ...]
    outputs: tuple[Passed, ...]


class Read(NamedTuple):
    """Where the forward took numbers out of a tensor: before ``nodes[position]``, by ``call``, in file and line."""

    position: int
    call: str
    source: tuple[str, int]


@dataclass(frozen=True)
class Capture:
    """A recorded forward pass.

    ``nodes`` holds the torch calls, parameters and inputs in the order in which they were first used. A node's
    ``meta`` has ``shape`` (or a nested tuple of shapes), ``path`` (the module whose forward made the call) and
    ``source`` (file, line).
    ``features`` has, by module, what a ``forward_features`` returned that the module's forward called.
    ``output`` is what the model returned, tensors replaced by nodes; ``inputs`` and ``training`` say on what and how
    it ran. ``reads`` are where it took numbers out of tensors, by which it may have gone on.
    ``error`` is set where the forward raised; the call that raised is then the last node, and its ``shape`` is None.
    """

    graph: fx.Graph
    nodes: tuple[fx.Node, ...]
    module_calls: tuple[ModuleCall, ...]
    features: Mapping[str, tuple[Passed, ...]]
    output: Any
    inputs: tuple[Tensor, ...]
    training: bool
    reads: tuple[Read, ...] = ()
    error: Exception | None = None

    @property
    def batch(self) -> int:
        """Number of examples that it ran on."""
        return self.inputs[0].shape[0] if self.inputs[0].dim() else 1

    def used(self) -> frozenset[str]:
        """Names of the parameters and buffers that took part."""
        return frozenset(node.target for node in self.nodes if node.op == "get_attr" and isinstance(node.target, str))


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
    inputs: tuple[Passed, ...]


class _Recorder(CallWatcher):
    """Writes the calls down."""

    def __init__(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        super().__init__(inputs[0].device)
        self.inputs = inputs
        self.graph = fx.Graph()
        self.nodes: list[fx.Node] = []
        self.module_calls: list[ModuleCall] = []
        self.features: dict[str, tuple[Passed, ...]] = {}
        self._names = {id(tensor): name for name, tensor in tensors_of(model)}
        self._known: dict[int, fx.Node] = {}
        self.reads: list[Read] = []
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

    def read(self, func: Any) -> None:
        self.reads.append(Read(len(self.nodes), f"Tensor.{func.__name__}", _source()))

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
        return map_aggregate(value, self._node_for)

    def _node_for(self, item: Any) -> Any:
        if not isinstance(item, Tensor):
            return item
        return self._known.get(id(item)) or self._introduce(item)

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
            self._stack.append(_Open(paths[module], len(self.nodes), self._passed(args)))

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            opened = self._stack.pop()
            self.module_calls.append(
                ModuleCall(opened.path, opened.start, len(self.nodes), opened.inputs, self._passed(output))
            )

        handles = []
        for module in paths:
            handles.append(module.register_forward_pre_hook(enter, prepend=True))
            handles.append(module.register_forward_hook(leave))
        # What a caller put in the method's place stays there, unseen.
        noted = [module for module in paths if hasattr(type(module), _FEATURES) and _FEATURES not in vars(module)]
        for module in noted:
            vars(module)[_FEATURES] = self._noting_features(paths[module], getattr(module, _FEATURES))
        try:
            yield
        finally:
            for module in noted:
                del vars(module)[_FEATURES]
            for handle in handles:
                handle.remove()

    def _noting_features(self, path: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            self.features[path] = self._passed(result)
            return result

        return noting

    def _passed(self, value: Any) -> tuple[Passed, ...]:
        """The tensors in ``value``, flat, in order."""
        return tuple([self._tensor(tensor) for tensor in leaves(value, Tensor)])

    def _tensor(self, tensor: Tensor) -> Passed:
        node = self._known.get(id(tensor))  # asked for its shape, a tensor would come by here again
        return Passed(node.meta["shape"] if node else tuple(tensor.shape), node)

    def finish(self, output: Any, training: bool, error: Exception | None) -> Capture:
        returned = self._nodes_for(output)
        return Capture(
            graph=self.graph,
            nodes=tuple(self.nodes),
            module_calls=tuple(self.module_calls),
            features=self.features,
            output=returned,
            inputs=self.inputs,
            training=training,
            reads=tuple(self.reads),
            error=error,
        )


def _source() -> tuple[str, int]:
    """Where in the model's own code we are: the innermost frame that is neither torch's nor ours."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((_TORCH_FOLDER, _OWN_FOLDER)) or name.startswith(_OWN_NETWORKS):
            return name, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return "", 0
