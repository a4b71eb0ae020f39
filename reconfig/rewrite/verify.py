"""Prove a rewritten skeleton: run it as the original was, and compare every dimension with what the plan says it is."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from reconfig.errors import VerifyError
from reconfig.trace.fast_shapes import FastShapes
from reconfig.trace.leaves import leaves
from reconfig.trace.record import Capture, capture
from reconfig.trace.skeleton import make_skeleton
from reconfig.trace.watch import CallWatcher, preserved_rng, running, shape_of
from reconfig.widths.algebra import Extent
from reconfig.widths.site import describe
from reconfig.widths.structure import Sizes, Structure, Value


@dataclass(frozen=True)
class Mismatch:
    """The first call that does not do what the plan says.

    Attributes:
        node: the call, in the capture of the original.
        changes: (old length, extent) of the dimensions that the plan changes around the call. Where it changes none,
            but a number among the call's arguments changed (``x.shape`` was read), those of the calling module that
            have gone from the old number to the new one.
        error: what the call raised, if it did.
        numbers: the whole numbers among the call's arguments that are others now, before and after.
        another_way: whether the forward made another call in its place.
    """

    node: fx.Node
    changes: tuple[tuple[int, Extent], ...]
    error: Exception | None
    numbers: tuple[tuple[int, int], ...] = ()
    another_way: bool = False

    def __str__(self) -> str:
        return describe(self.node) + (f": {self.error}" if self.error else "")


def first_mismatch(
    model: nn.Module, structure: Structure, original: Capture, sizes: Sizes, stop: int | None = None
) -> Mismatch | None:
    """Run the rewritten skeleton as in ``original``: the first call that is not what the plan says, or None.

    Only ``nodes[:stop]`` are held against it. Where all is as planned, which is nearly always, nothing is recorded.
    """
    if _runs_as_planned(model, structure, original, sizes, stop):
        return None
    anew = make_skeleton(model, original.inputs[0].device.type)  # as it was recorded: without what was cached meanwhile
    return compare(structure, original, capture(anew, original.inputs, training=original.training), sizes, stop)


def _runs_as_planned(model: nn.Module, structure: Structure, original: Capture, sizes: Sizes, stop: int | None) -> bool:
    """Whether the skeleton makes the calls of ``original``, and all come out as long as ``sizes`` say."""
    watcher = _Comparison(structure, original, Lengths(structure, sizes), stop)
    try:
        with running(model, watcher, training=original.training):
            model(*original.inputs)
    except Exception:
        return False
    return watcher.complete


class _Comparison(CallWatcher):
    """Holds each call of a running skeleton against a capture, and stops the run at the first that differs.

    Half of the time of a plan would go into a second recording, which only has to be compared.
    """

    def __init__(self, structure: Structure, original: Capture, lengths: Lengths, stop: int | None) -> None:
        super().__init__(original.inputs[0].device)
        self._values, self._lengths, self._to_the_end = structure.values, lengths, stop is None
        # What indexes a tuple was recorded beside the call that gave the tuple.
        calls = [
            node for node in original.nodes[:stop] if node.op == "call_function" and node.target is not operator.getitem
        ]
        self._left = calls[::-1]
        self._differs = False

    @property
    def complete(self) -> bool:
        """Whether all calls were made, and no other."""
        return not self._left and not self._differs

    def saw(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        if not self._left and not self._to_the_end:
            return
        node = self._left.pop() if self._left else None
        if node is None or node.target != func or not self._lengths.agree(self._values[node], shape_of(result)):
            self._differs = True  # the model may catch what is raised
            raise _DiffersError


class _DiffersError(Exception):
    """Ends a run that has stopped being what was planned."""


def compare(
    structure: Structure, original: Capture, result: Capture, sizes: Sizes, stop: int | None = None
) -> Mismatch | None:
    """The first of the first ``stop`` nodes of ``result`` whose shape is not what ``structure`` makes of ``sizes``."""
    lengths = Lengths(structure, sizes)
    for node, other in zip(original.nodes[:stop], result.nodes[:stop], strict=False):
        same = node.op == other.op and node.target == other.target
        if not same or not lengths.agree(structure.values[node], other.meta["shape"]):
            error = result.error if other is result.nodes[-1] else None
            changes = changes_at(structure, lengths, node) or _changed_numbers(
                structure, lengths, original, node, other
            )
            return Mismatch(node, changes, error, _other_numbers(node, other) if same else (), another_way=not same)
    if stop is not None and len(result.nodes) >= stop and result.error is None:
        return None
    if result.error is not None or len(original.nodes) != len(result.nodes):
        last = original.nodes[min(len(original.nodes), len(result.nodes)) - 1]
        return Mismatch(last, changes_at(structure, lengths, last), result.error)
    return None


def _other_numbers(node: fx.Node, other: fx.Node) -> tuple[tuple[int, int], ...]:
    pairs = zip(leaves((node.args, node.kwargs), int), leaves((other.args, other.kwargs), int), strict=False)
    return tuple({pair: None for pair in pairs if pair[0] != pair[1] and 0 not in pair})


class Lengths:
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
        """Whether a call that is planned to give ``value`` gave this shape (nested as the value is)."""
        if isinstance(value, Value):
            return isinstance(shape, tuple) and tuple(self(extent) for extent in value.dims) == shape
        if isinstance(value, tuple):
            return isinstance(shape, tuple) and all(
                item is None or self.agree(item, own) for item, own in zip(value, shape, strict=False)
            )
        return True


def changes_at(structure: Structure, lengths: Lengths, node: fx.Node) -> tuple[tuple[int, Extent], ...]:
    """(old length, extent) of the dimensions around a call that change."""
    return _changes(structure, [node], lambda size, extent: lengths(extent) != size)


def _changed_numbers(
    structure: Structure, lengths: Lengths, original: Capture, node: fx.Node, other: fx.Node
) -> tuple[tuple[int, Extent], ...]:
    """Dimensions inside the calling module that went from a number among the call's arguments to another one.

    The call took no tensor that changes: a length reached it as a number, from a tensor's shape.
    """
    before, after = numbers_in(node), numbers_in(other)
    moved = {(old, new) for old in before - after for new in after - before}
    path = node.meta["path"]
    inside = [n for n in original.nodes if n.meta["path"] == path or n.meta["path"].startswith(path + ".")]
    return _changes(structure, inside, lambda size, extent: (size, lengths(extent)) in moved)


def _changes(structure: Structure, nodes: Sequence[fx.Node], wanted: Any) -> tuple[tuple[int, Extent], ...]:
    found = {
        (size, extent): None
        for node in nodes
        for value in structure.values_at(node)
        for size, extent in zip(value.shape, value.dims, strict=True)
        if wanted(size, extent)
    }
    return tuple(found)


def numbers_in(node: fx.Node) -> set[int]:
    """The whole numbers among the arguments of a call."""
    return {number for number in leaves((node.args, node.kwargs), int) if not isinstance(number, bool)}


def check_trains(skeleton: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Run a skeleton forward and backward in training mode.

    Raises:
        VerifyError: where it fails.
    """
    floating = [tensor.clone().requires_grad_(tensor.is_floating_point()) for tensor in inputs]
    skeleton.train()
    try:
        with preserved_rng(), torch.enable_grad(), inputs[0].device, FastShapes():
            outputs = [tensor for tensor in leaves(skeleton(*floating), Tensor) if tensor.requires_grad]
            if outputs:
                torch.autograd.backward([tensor.sum() for tensor in outputs])
    except Exception as error:
        raise VerifyError(f"the rewritten {type(skeleton).__name__} does not train: {error}") from error
    finally:
        skeleton.eval()
