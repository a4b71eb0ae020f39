"""Stages as data, and as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reconfig.draw import listed, resolution, table
from reconfig.picture.chart import Cell, Chart, Row
from reconfig.picture.html import html
from reconfig.picture.svg import svg


@dataclass(frozen=True)
class Stage:
    """One stage as found.

    Attributes:
        index: 1 for the first.
        reduction: input size over this stage's size (a power of two; 1 is full resolution, 0.5 twice that); the size of
            what the first layer sees, where the forward enlarges its input first.
        resolution: positions, e.g. (height, width), at the stage's output.
        width: channels at the stage's output.
        blocks: module names of its blocks; a plain stage has none.
        layers: module names of the convolutions and linear maps that make its widths.
        dense: whether its output still holds, as terms of a concat, what entered it.
        decoder: module names of blocks and layers that come back to its resolution from a later stage. Their widths
            scale with the stage's, and no rule changes their number.
    """

    index: int
    reduction: float
    resolution: tuple[int, ...]
    width: int
    blocks: tuple[str, ...]
    layers: tuple[str, ...]
    dense: bool = False
    decoder: tuple[str, ...] = ()

    @property
    def scale(self) -> str:
        """Its size beside the input's: "1/4", or "2" where it is larger."""
        return f"1/{self.reduction:g}" if self.reduction >= 1 else f"{1 / self.reduction:g}"

    @property
    def modules(self) -> tuple[str, ...]:
        """Its blocks; of a plain stage its layers, but for the decoder's."""
        return self.blocks or tuple(path for path in self.layers if path not in self.decoder)


def _row(stage: Stage) -> Row:
    blocks = f"{len(stage.blocks)} block{'s' * (len(stage.blocks) != 1)}" if stage.blocks else "plain"
    words = (f"{stage.width:,} channels", *(["dense"] if stage.dense else []), blocks)
    words = (*words, listed(stage.modules))
    cell = Cell(stage.width, words, ", ".join(stage.modules))
    return Row(f"stage {stage.index}", f"{resolution(stage.resolution)}, {stage.scale}", (cell,))


@dataclass(frozen=True)
class Stages:
    """All stages of a model, first to last, with the layers that belong to none of them."""

    stages: tuple[Stage, ...]
    stem: tuple[str, ...] = ()
    head: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)

    def __getitem__(self, index: int) -> Stage:
        return self.stages[index]

    def chart(self) -> Chart:
        """What a picture of the stages shows: of each a bar as long as it has channels."""
        rows = tuple(_row(stage) for stage in self.stages)
        decoders = ((f"decoder at stage {stage.index}", stage.decoder) for stage in self.stages)
        outside = (*decoders, ("stem", self.stem), ("head", self.head))
        words = "; ".join(f"{name}: {listed(paths)}" for name, paths in outside if paths)
        return Chart(f"{len(rows)} stage{'s' * (len(rows) != 1)}", words, ("channels",), rows)

    def svg(self) -> str:
        """The stages as a picture."""
        return svg(self.chart())

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_html_(self) -> str:
        """What a notebook shows: the picture, and the table to unfold."""
        return html(self.chart(), str(self))

    def __str__(self) -> str:
        rows = [
            (
                stage.index,
                stage.scale,
                resolution(stage.resolution),
                len(stage.blocks) or "plain",
                f"{stage.width}{' dense' if stage.dense else ''}",
                listed(stage.modules),
            )
            for stage in self.stages
        ]
        lines = [table(("stage", "scale", "resolution", "blocks", "width", "modules"), rows)]
        lines += [f"decoder at stage {stage.index}: {listed(stage.decoder)}" for stage in self.stages if stage.decoder]
        lines += [f"{name}: {listed(paths)}" for name, paths in (("stem", self.stem), ("head", self.head)) if paths]
        return "\n".join(lines)
