"""A model as plans are made from it: captured, read in widths, placed in stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from reconfig.rule import Keep
from reconfig.staging.placement import Placement, place_widths
from reconfig.trace.example import Probe, probe
from reconfig.trace.skeleton import tensors_of
from reconfig.widths.algebra import Dims, parts
from reconfig.widths.propagate import propagate
from reconfig.widths.structure import Structure


@dataclass(frozen=True)
class Reading:
    """A skeleton read in widths and stages.

    Attributes:
        skeleton: the copy of the model that was run.
        inputs: what it was run on.
        structure: its captures in widths.
        placement: to which stage each width belongs.
    """

    skeleton: nn.Module
    inputs: tuple[Tensor, ...]
    structure: Structure
    placement: Placement

    def made_by(self, width: int) -> list[str]:
        """Module names of the layers whose output has this width in it."""
        return [layer.path for layer in self.structure.layers if width in self.structure.widths_in(layer.out)]

    def stage_members(self) -> dict[str, int]:
        """The stage (1 for the first) of each parameter: of its layer, or of the width that it has (norms, scales)."""
        stages = self.placement.stages
        by_layer = {path: stage.index for stage in stages for path in stage.layers}
        outside = {*stages.stem, *stages.head}
        members: dict[str, int] = {}
        for name, _ in tensors_of(self.skeleton, "parameters"):
            module = name.rpartition(".")[0]
            index = by_layer.get(module) or self._stage_of(self.structure.params[name])
            if index is not None and module not in outside:
                members[name] = index
        return members

    def _stage_of(self, dims: Dims) -> int | None:
        """The stage of the first width in these dimensions that belongs to one."""
        widths, stage_of = self.structure.widths, self.placement.stage_of
        found = (part.width for extent in dims for part in parts(widths.resolve(extent)) if part.width in stage_of)
        first = next(found, None)
        return None if first is None else stage_of[first] + 1


def read_model(
    model: nn.Module,
    example_input: object = None,
    stages: Mapping[str, int] | None = None,
    keep: Keep | None = None,
) -> Reading:
    """Capture ``model`` and find its widths and stages; ``keep`` as in ``propagate``.

    Raises:
        InputError: where the model does not run.
        ModelError, StageError: where it has no stages, or not those that are given.
    """
    return read_probe(probe(model, example_input), stages, keep)


def read_probe(start: Probe, stages: Mapping[str, int] | None, keep: Keep | None) -> Reading:
    """As ``read_model``, of a skeleton that was captured already."""
    captures, roomy = start.captures(), start.roomy()
    structure = propagate(start.skeleton, captures, keep=keep)
    placement = place_widths(start.skeleton, structure, roomy, stages)
    if _ties_pieces(structure, placement):
        # Halves that one width meets stay halves, but not where they come from several stages: the later ones' scale.
        structure = propagate(start.skeleton, captures, apart=True, keep=keep)
        placement = place_widths(start.skeleton, structure, roomy, stages)
    return Reading(start.skeleton, start.inputs, structure, placement)


def _ties_pieces(structure: Structure, placement: Placement) -> bool:
    """Whether a part of a width, such as its half, belongs to another stage than the rest."""
    resolved = (structure.widths.resolve(layer.out) for layer in structure.layers)
    return any(part.den > 1 and placement.tied.get(part.width) for extent in resolved for part in parts(extent))
