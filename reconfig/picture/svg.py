"""A chart as SVG: text that any browser shows, with nothing fetched from elsewhere."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from reconfig.picture.canvas import WIDTH, Box, Canvas, Text, lay_out
from reconfig.picture.chart import Chart

_SANS, _MONO = "sans-serif", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


def svg(chart: Chart) -> str:
    """The chart as an SVG element of 800 pixels' width, on white; it is a file as well."""
    canvas: Canvas = lay_out(chart)
    size = f'width="{WIDTH}" height="{canvas.height}" viewBox="0 0 {WIDTH} {canvas.height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label={quoteattr(chart.title)} '
            f'font-family="{_SANS}">',
            '<rect width="100%" height="100%" fill="white"/>',
            *(_box(shape) if isinstance(shape, Box) else _text(shape) for shape in canvas.shapes),
            "</svg>",
        ]
    )


def _box(box: Box) -> str:
    size = f'x="{box.x:.4g}" y="{box.y:g}" width="{box.width:.4g}" height="{box.height:g}" fill="{box.colour}"'
    return f"<rect {size}>{_title(box.details)}</rect>" if box.details else f"<rect {size}/>"


def _text(text: Text) -> str:
    style = f'font-size="{text.size:g}" fill="{text.colour}"'
    style += ' font-weight="bold"' if text.bold else ""
    style += f' font-family="{_MONO}"' if text.mono else ""
    style += f' text-anchor="{text.anchor}"' if text.anchor != "start" else ""
    return f'<text x="{text.x:g}" y="{text.y:g}" {style}>{_title(text.details)}{escape(text.words)}</text>'


def _title(details: str) -> str:
    return f"<title>{escape(details)}</title>" if details else ""
