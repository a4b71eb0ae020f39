"""A network recorded in both modes, as freely in its input's sizes as it allows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from reconfig.errors import ExportError
from reconfig.export.code.join import join
from reconfig.export.code.record import Call, Guard, Recording, record
from reconfig.export.code.sizes import Dim, Term
from reconfig.export.inputs import Inputs
from reconfig.trace.skeleton import make_skeleton

_LETTERS = {1: "N", 2: "NC", 3: "NCL", 4: "NCHW", 5: "NCDHW"}
_FURTHER = 32  # what positions differ by in the second recording; strides divide it
_LARGE = 128  # from here on the second is smaller, since the file is run on both


@dataclass(frozen=True)
class Captured:
    """A network's forwards.

    Attributes:
        evaluating: in eval mode.
        training: in train mode; None where it could not be recorded.
        no_training: why not.
        takes: the inputs' shapes as text, letters for what is free.
        tried: inputs of the sizes that it was recorded on.
    """

    evaluating: Call
    training: Call | None
    no_training: str
    takes: tuple[str, ...]
    tried: tuple[Inputs, ...]


def captures(model: nn.Module, inputs: Inputs) -> Iterator[Captured | ExportError]:
    """The recordings of ``model``, the freest first; in place of one that cannot be had, the reason."""
    two = inputs.with_batch(max(2, inputs.shapes[0][0]))
    for pair in ((two, _other(two, _FURTHER)), (two, _other(two, 0)), (inputs, None)):
        try:
            yield _captured(model, *pair)
        except ExportError as error:
            yield error
        except Exception as error:  # whatever the network raises on these sizes
            yield ExportError(f"{type(model).__name__} cannot be recorded: {type(error).__name__}: {error}")


def _other(inputs: Inputs, further: int) -> Inputs:
    """One example more, and positions that differ by multiples of ``further``, each by another."""
    shapes = tuple(
        (
            shape[0] + 1,
            *shape[1:2],
            *(size + further * (step if size < _LARGE else -step) for step, size in enumerate(shape[2:], 1)),
        )
        for shape in inputs.shapes
    )
    return Inputs(shapes, inputs.dtypes, inputs.device)


def _captured(model: nn.Module, first: Inputs, second: Inputs | None) -> Captured:
    evaluating = _recorded(model, first, second, training=False)
    training, no_training = None, ""
    try:
        _recorded(model, first, None, training=True)
    except Exception as error:  # it does not train on any size
        no_training = str(error)
    else:
        training = _recorded(model, first, second, training=True)
    return Captured(
        evaluating=_guarded(evaluating, second),
        training=_guarded(training, second) if training else None,
        no_training=no_training,
        takes=tuple(map(_described, first.shapes, second.shapes if second else [None] * len(first.shapes))),
        tried=(first,) if second is None else (first, second),
    )


def _recorded(model: nn.Module, first: Inputs, second: Inputs | None, *, training: bool) -> Recording:
    recordings = [
        record(make_skeleton(model, inputs.device), inputs.zeros(inputs.device), training=training)
        for inputs in (first, second)
        if inputs is not None
    ]
    return join(recordings[0], recordings[-1])


def _guarded(recording: Recording, second: Inputs | None) -> Call:
    """The network's call, which begins with a look at what is not free of the inputs' sizes."""
    looks = [
        Term("eq", (Dim(value, index), length))
        for number, value in enumerate(recording.inputs)
        for index, length in enumerate(value.shape)
        if index != 1 and (second is None or second.shapes[number][index] == length)
    ]
    root = recording.root
    guards = [Guard(Term("and", tuple(looks)), holds=True, grad=True)] if looks else []
    return Call(root.path, root.args, root.kwargs, root.grad, [*guards, *root.body], root.output)


def _described(shape: tuple[int, ...], other: tuple[int, ...] | None) -> str:
    """A shape with letters for what is free."""
    letters = _LETTERS[len(shape)] if len(shape) in _LETTERS else [f"L{index}" for index in range(len(shape))]
    parts = [
        letter if other is not None and other[index] != length else str(length)
        for index, (letter, length) in enumerate(zip(letters, shape, strict=True))
    ]
    return "(" + ", ".join(parts) + ("," if len(parts) == 1 else "") + ")"
