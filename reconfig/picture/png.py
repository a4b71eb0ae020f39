"""A chart as PNG, by matplotlib: its wheels are everywhere and bring their own fonts, so text never goes missing."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from reconfig.errors import ExportError
from reconfig.picture.canvas import WIDTH, Box, Text, lay_out
from reconfig.picture.chart import Chart

_INCH = 100  # pixels of the canvas to an inch of the figure
_POINTS = 72 / _INCH  # of a font, to a pixel of the canvas
_SHARP = 2  # pixels of the file to a pixel of the canvas
_SIDES = {"start": "left", "middle": "center", "end": "right"}


def png(chart: Chart) -> bytes:
    """The chart as a PNG file of 1,600 pixels' width.

    Raises:
        ExportError: matplotlib is not installed.
    """
    figure_type, rectangle = _matplotlib()
    canvas = lay_out(chart)
    figure = figure_type(figsize=(WIDTH / _INCH, canvas.height / _INCH), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(canvas.height, 0))
    axes.axis("off")
    for shape in canvas.shapes:
        if isinstance(shape, Box):
            axes.add_patch(rectangle((shape.x, shape.y), shape.width, shape.height, color=shape.colour, linewidth=0))
        else:
            _write(axes, shape)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=_INCH * _SHARP)
    return file.getvalue()


def _write(axes: Any, text: Text) -> None:
    axes.text(
        text.x,
        text.y,
        text.words,
        fontsize=text.size * _POINTS,
        color=text.colour,
        weight="bold" if text.bold else "normal",
        family="DejaVu Sans Mono" if text.mono else "DejaVu Sans",
        ha=_SIDES[text.anchor],
        parse_math=False,
    )


def _matplotlib() -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle
    except ImportError as error:
        raise ExportError(
            "a PNG is drawn by matplotlib, which is not installed: pip install 'robust-reconfig[draw]', or write an "
            ".svg or .html, which need nothing"
        ) from error
    return Figure, Rectangle
