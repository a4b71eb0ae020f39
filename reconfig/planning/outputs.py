"""What a model returns: feature maps, whose widths a rule may scale, and what its last layers make for the user.

A feature map is an output whose width a stage has made: of a backbone, of a network that gives its features. A class
score is none, nor is an image, or a map of classes: there the last layer alone makes the channels, no other layer reads
them, and between it and the output nothing normalises, activates or pools them (but for class maps, made by a 1x1
convolution and pooled to scores, as SqueezeNet has them). Those are a head's, and stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Literal

from torch import fx

from reconfig.errors import InputError
from reconfig.planning.reading import Reading
from reconfig.trace.leaves import leaves
from reconfig.widths.calls.table import named
from reconfig.widths.reasons import HEAD, OUTPUT, RETURNED_MAP, Reason
from reconfig.widths.structure import Layer

Outputs = Literal["keep", "scale"]
"""What becomes of feature maps that the model returns."""

# What may stand between the last layer and the output: the same numbers in another shape, size or range.
_FINISHING = frozenset(
    named(
        "view reshape flatten unflatten permute transpose squeeze unsqueeze contiguous clone float half double to "
        "movedim pixel_shuffle interpolate pad getitem __getitem__ cat stack chunk split unbind "
        "add add_ sub sub_ mul mul_ div div_ __add__ __radd__ __iadd__ __sub__ __rsub__ __isub__ "
        "__mul__ __rmul__ __imul__ __truediv__ __itruediv__ __neg__ neg "
        "sigmoid sigmoid_ tanh tanh_ softmax log_softmax clamp clamp_ clip exp"
    )
)
_POOLING = _FINISHING | set(named("relu relu_ mean avg_pool2d adaptive_avg_pool2d"))  # class maps to scores


def check_outputs(outputs: object) -> None:
    """See that ``outputs`` is one of the two words.

    Raises:
        InputError: where it is not.
    """
    if outputs not in ("keep", "scale"):
        raise InputError(
            f"outputs is {outputs!r}, and must be 'keep' (feature maps that the model returns keep their channels) or "
            "'scale': write outputs='scale'"
        )


def kept_widths(reading: Reading, outputs: Outputs) -> dict[int, Reason]:
    """The widths of a model that keep their size whatever the rule, and why."""
    kept = dict.fromkeys(sorted(reading.placement.head), HEAD) | reading.structure.widths.frozen
    finished = None
    for width, reason in list(kept.items()):
        if reason is not OUTPUT or width not in reading.placement.stage_of:
            continue
        finished = _finished(reading) if finished is None else finished
        if width in finished:
            kept[width] = HEAD
        elif outputs == "scale":
            del kept[width]
        else:
            kept[width] = RETURNED_MAP
    return kept


def _finished(reading: Reading) -> set[int]:
    """The widths that layers make for the output alone."""
    structure = reading.structure
    layers = {layer.node: layer for layer in structure.layers}
    outputs = [node for capture in structure.captures for node in leaves(capture.output, fx.Node)]
    scores = [node for node in outputs if len(node.meta["shape"]) == 2]
    last = {*_last_layers(outputs, layers, _FINISHING)}
    last |= {layer for layer in _last_layers(scores, layers, _POOLING) if layer.pointwise}
    read_or_made_elsewhere = {
        width
        for layer in structure.layers
        for width in structure.widths_in(layer.input, *(() if layer in last else (layer.out,)))
    }
    return structure.widths_in(*(layer.out for layer in last)) - read_or_made_elsewhere


def _last_layers(
    outputs: Sequence[fx.Node], layers: Mapping[fx.Node, Layer], finishing: Set[object]
) -> Iterator[Layer]:
    """The layers between which and the outputs only ``finishing`` calls stand."""
    queue, seen = list(outputs), set[fx.Node]()
    while queue:
        node = queue.pop()
        if node in seen:
            continue
        seen.add(node)
        if node in layers:
            yield layers[node]
        elif node.target in finishing:
            queue.extend(node.all_input_nodes)
