"""Prove a rewritten skeleton: run it as the original was, and compare every dimension with what the plan says it is."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from reconfig.budget import Sizes
from reconfig.capture import CallWatcher, Capture, Shape, capture, preserved_rng, running, shape_of
from reconfig.errors import VerifyError
from reconfig.meta import FastShapes
from reconfig.ops import Attribute, Structure, Value, call_name, place
from reconfig.skeleton import skeleton
from reconfig.surgery import holds
from reconfig.widths import Extent


@dataclass(frozen=True)
class Mismatch:
    """The first call that does not do what the plan says.

    Attributes:
        node: the call, in the capture of the original.
        changes: the dimensions around it that the plan changes, with their old lengths. Where there are none, those of
            the same module from which a number among its arguments came (``x.shape``).
        error: what the call raised, if it did.
    """

    node: fx.Node
    changes: tuple[tuple[int, Extent], ...]
    error: Exception | None

    def __str__(self) -> str:
        return f"{call_name(self.node)} at {place(self.node)}" + (f": {self.error}" if self.error else "")


def first_mismatch(model: nn.Module, structure: Structure, original: Capture, sizes: Sizes) -> Mismatch | None:
    """Run the rewritten skeleton as in ``original``: the first call that is not what the plan says, or None.

    Where all is as planned, which is nearly always, nothing is recorded.
    """
    if _follows(model, structure, original, sizes):
        return None
    fresh = skeleton(model, original.inputs[0].device.type)  # as it was recorded: without what was cached meanwhile
    return compare(structure, original, capture(fresh, original.inputs, training=original.training), sizes)


def _follows(model: nn.Module, structure: Structure, original: Capture, sizes: Sizes) -> bool:
    """Whether the skeleton makes the calls of ``original``, and all come out as long as ``sizes`` say."""
    follower = _Follower(structure, original, _Lengths(structure, sizes))
    try:
        with running(model, follower, training=original.training):
            model(*original.inputs)
    except Exception:
        return False
    return follower.arrived


class _Follower(CallWatcher):
    """Goes along a capture while the rewritten skeleton runs, and stops it at the first call that differs."""

    def __init__(self, structure: Structure, original: Capture, lengths: _Lengths) -> None:
        super().__init__(original.inputs[0].device)
        self._values, self._lengths = structure.values, lengths
        # What indexes a tuple was recorded beside the call that gave the tuple.
        calls = [node for node in original.nodes if node.op == "call_function" and node.target is not operator.getitem]
        self._left = calls[::-1]
        self._lost = False

    @property
    def arrived(self) -> bool:
        """Whether all calls were made, and no other."""
        return not self._left and not self._lost

    def saw(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        node = self._left.pop() if self._left else None
        if node is None or node.target != func or not self._lengths.agree(self._values[node], shape_of(result)):
            self._lost = True  # the model may catch what is raised
            raise _DiffersError


class _DiffersError(Exception):
    """Ends a run that has stopped being what was planned."""


def compare(structure: Structure, original: Capture, result: Capture, sizes: Sizes) -> Mismatch | None:
    """The first node of ``result`` whose shape is not what ``structure`` makes of ``sizes``, or None."""
    lengths = _Lengths(structure, sizes)
    for node, other in zip(original.nodes, result.nodes, strict=False):
        same = node.op == other.op and node.target == other.target
        if not same or not lengths.agree(structure.values[node], other.meta["shape"]):
            error = result.error if other is result.nodes[-1] else None
            found = _mismatch(structure, lengths, node, error)
            return found if found.changes else _through_numbers(structure, lengths, original, found, other)
    if result.error is not None or len(original.nodes) != len(result.nodes):
        last = original.nodes[min(len(original.nodes), len(result.nodes)) - 1]
        return _mismatch(structure, lengths, last, result.error)
    return None


class _Lengths:
    """New lengths of extents, each computed once."""

    def __init__(self, structure: Structure, sizes: Sizes) -> None:
        self._widths, self._sizes = structure.widths, sizes
        self._known: dict[Extent, int] = {}

    def __call__(self, extent: Extent) -> int:
        if extent not in self._known:
            try:
                self._known[extent] = self._widths.size(extent, self._sizes)
            except ValueError:  # not whole: no shape will ever agree
                self._known[extent] = -1
        return self._known[extent]

    def agree(self, value: Any, shape: Any) -> bool:
        if isinstance(value, Value):
            return isinstance(shape, tuple) and tuple(self(extent) for extent in value.dims) == shape
        if isinstance(value, tuple):
            return isinstance(shape, tuple) and all(
                item is None or self.agree(item, own) for item, own in zip(value, shape, strict=False)
            )
        return True


def _mismatch(structure: Structure, lengths: _Lengths, node: fx.Node, error: Exception | None) -> Mismatch:
    around = [structure.values[node], *(structure.values[source] for source in node.all_input_nodes)]
    changes = {
        (size, extent): None
        for value in _values(around)
        for size, extent in zip(value.shape, value.dims, strict=True)
        if lengths(extent) != size
    }
    return Mismatch(node, tuple(changes), error)


def _through_numbers(
    structure: Structure, lengths: _Lengths, original: Capture, mismatch: Mismatch, other: fx.Node
) -> Mismatch:
    """The mismatch with the dimensions whose lengths reached the call as numbers, and only as numbers."""
    before, after = _numbers((mismatch.node.args, mismatch.node.kwargs)), _numbers((other.args, other.kwargs))
    moved = {(old, new) for old in before - after for new in after - before}
    path = mismatch.node.meta["path"]
    changes = {
        (size, extent): None
        for node in original.nodes
        if path == node.meta["path"] or node.meta["path"].startswith(path + ".")
        for value in _values([structure.values[node], *(structure.values[source] for source in node.all_input_nodes)])
        for size, extent in zip(value.shape, value.dims, strict=True)
        if (size, lengths(extent)) in moved
    }
    return Mismatch(mismatch.node, tuple(changes), mismatch.error)


def _values(item: Any) -> Iterator[Value]:
    if isinstance(item, Value):
        yield item
    elif isinstance(item, tuple | list):
        for part in item:
            yield from _values(part)


def repair(
    model: nn.Module, structure: Structure, original: Capture, mismatch: Mismatch, sizes: Sizes
) -> tuple[Attribute, ...]:
    """Numbers that modules keep and that explain the mismatch: the same attribute for all calls from the same line.

    An empty tuple means that the number is written in the code, so the widths must stay. The order is the calls':
    where a number could follow two widths, the later one counts, so plans would differ if it were a set's.
    """
    lengths = _Lengths(structure, sizes)
    line = (mismatch.node.target, mismatch.node.meta["source"])
    found: dict[Attribute, None] = {}
    for node in original.nodes:
        if (node.target, node.meta["source"]) != line:
            continue
        path = node.meta["path"]
        kept = vars(model.get_submodule(path))
        for old, extent in _mismatch(structure, lengths, node, None).changes:
            found |= {
                Attribute(path, name, extent): None
                for name, value in kept.items()
                if not name.startswith("_") and holds(value, old)
            }
    return tuple(found)


def upstream(structure: Structure, original: Capture, mismatch: Mismatch, sizes: Sizes) -> list[Extent]:
    """What changes at the last call before a mismatch around which nothing does: its sizes were computed from it."""
    lengths = _Lengths(structure, sizes)
    for node in reversed(original.nodes[: original.nodes.index(mismatch.node)]):
        changes = _mismatch(structure, lengths, node, None).changes
        if changes:
            return [extent for _, extent in changes]
    return []


def _numbers(item: Any) -> set[int]:
    """The whole numbers among the arguments of a call."""
    if isinstance(item, bool):
        return set()
    if isinstance(item, int):
        return {item}
    if isinstance(item, slice):
        return _numbers((item.start, item.stop, item.step))
    if isinstance(item, dict):
        item = tuple(item.values())
    if isinstance(item, tuple | list):
        return set().union(*(_numbers(part) for part in item)) if item else set()
    return set()


def literal_reason(mismatch: Mismatch) -> str:
    """Why the widths at a mismatch have to stay, for the plan."""
    numbers = sorted({old for old, _ in mismatch.changes} & _numbers((mismatch.node.args, mismatch.node.kwargs)))
    what = f"the number {numbers[0]} written in the code" if numbers else "sizes that do not follow the widths"
    return f"{what}: {call_name(mismatch.node)} at {place(mismatch.node)}"


def output_shapes(item: Any) -> tuple[Shape, ...]:
    """Shapes of the tensors that a model returned (nodes or tensors), flat."""
    if isinstance(item, fx.Node):
        return (item.meta["shape"],)
    if isinstance(item, Tensor):
        return (tuple(item.shape),)
    if isinstance(item, dict):
        item = tuple(item.values())
    if isinstance(item, tuple | list):
        return tuple(shape for part in item for shape in output_shapes(part))
    return ()


def trains(bones: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Run a skeleton forward and backward in training mode.

    Raises:
        VerifyError: where it fails.
    """
    floating = [tensor.clone().requires_grad_(tensor.is_floating_point()) for tensor in inputs]
    bones.train()
    try:
        with preserved_rng(), torch.enable_grad(), inputs[0].device, FastShapes():
            outputs = [tensor for tensor in _tensors(bones(*floating)) if tensor.requires_grad]
            if outputs:
                torch.autograd.backward([tensor.sum() for tensor in outputs])
    except Exception as error:
        raise VerifyError(f"the rewritten {type(bones).__name__} does not train: {error}") from error
    finally:
        bones.eval()


def _tensors(item: Any) -> Iterator[Tensor]:
    if isinstance(item, Tensor):
        yield item
    elif isinstance(item, dict):
        yield from _tensors(tuple(item.values()))
    elif isinstance(item, tuple | list):
        for part in item:
            yield from _tensors(part)
