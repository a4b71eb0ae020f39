"""A network as torch.export captures it: what the formats of torch's own exporters are made from."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from reconfig.errors import ExportError
from reconfig.export.inputs import Inputs
from reconfig.trace.leaves import leaves
from reconfig.trace.skeleton import make_skeleton

_BATCH = 2  # one example is a case of its own to torch.export


@dataclass(frozen=True)
class Program:
    """A network in eval mode, captured with any number of examples where it allows that.

    Attributes:
        exported: the program.
        takes: the shape of each input as text, "N" for a free batch.
        tried: inputs to compare with, of another batch than the captured one where that is free.
        expected: what the network gives on them.
    """

    exported: ExportedProgram
    takes: tuple[str, ...]
    tried: tuple[Tensor, ...]
    expected: tuple[Tensor, ...]

    def compare(self, found: tuple[Tensor, ...], what: str, tolerance: float = 1e-4) -> None:
        """See that ``found`` is what the network gives, to ``tolerance`` of its largest number.

        Raises:
            ExportError: where it is not.
        """
        if len(found) != len(self.expected):
            raise ExportError(f"{what} gives {len(found)} tensors, and the network {len(self.expected)}")
        for ours, theirs in zip(found, self.expected, strict=True):
            if ours.shape != theirs.shape:
                raise ExportError(f"{what} gives {tuple(ours.shape)}, and the network {tuple(theirs.shape)}")
            difference = (ours.double() - theirs.double()).abs().max().item() if theirs.numel() else 0.0
            if not difference <= tolerance * max(1.0, theirs.abs().max().item() if theirs.numel() else 1.0):
                raise ExportError(f"{what} differs from the network by {difference:.3g}")


def program(model: nn.Module, inputs: Inputs) -> Program:
    """``model`` in eval mode, on the CPU, as torch.export captures it.

    Raises:
        ExportError: where it cannot.
    """
    network = make_skeleton(model, "cpu").requires_grad_(False)
    two = inputs.with_batch(max(_BATCH, inputs.shapes[0][0]))
    three = two.with_batch(two.shapes[0][0] + 1)
    batches: list[object] = [Dim("batch"), Dim.AUTO] if _runs(network, three) else [None]
    exported = _captured(network, two, batches)
    free = _free_batch(exported)
    tried = tuple((three if free else two).random())
    with torch.no_grad():
        expected = tuple(leaves(network(*tried), Tensor))
    takes = tuple(f"({', '.join(map(str, ['N' if free else s[0], *s[1:]]))})" for s in two.shapes)
    return Program(exported, takes, tried, expected)


def _runs(network: nn.Module, inputs: Inputs) -> bool:
    try:
        with torch.no_grad():
            network(*inputs.random())
    except Exception:  # whatever a network raises on a batch that it is not made for
        return False
    return True


def _captured(network: nn.Module, inputs: Inputs, batches: list[object]) -> ExportedProgram:
    """The program with the first of these batches that torch.export can keep.

    Raises:
        ExportError: where it can keep none.
    """
    for batch in batches:
        try:
            return _exported(network, inputs, batch)
        except Exception as error:
            last = error
    raise ExportError(
        f"torch.export cannot capture {type(network).__name__}: {type(last).__name__}: {first_line(last)}; "
        "to_code records it in another way"
    ) from last


def _exported(network: nn.Module, inputs: Inputs, batch: object) -> ExportedProgram:
    shapes = tuple({0: batch} for _ in inputs.shapes) if batch else None
    with quiet():
        return torch.export.export(network, tuple(inputs.random()), dynamic_shapes=shapes, strict=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Within, torch's exporters keep to themselves what they warn of in their own code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return next(iter(str(error).splitlines()), "")


def _free_batch(exported: ExportedProgram) -> bool:
    """Whether every input may have another number of examples."""
    names = set(exported.graph_signature.user_inputs)
    found = [node.meta["val"] for node in exported.graph.nodes if node.op == "placeholder" and node.name in names]
    return all(isinstance(value, Tensor) and not isinstance(value.shape[0], int) for value in found)
