"""A chart as HTML: the picture, and below it the same in figures, folded away."""

from __future__ import annotations

from html import escape

from reconfig.picture.chart import Chart
from reconfig.picture.svg import svg


def html(chart: Chart, figures: str) -> str:
    """An element for a notebook: the picture with its notes, and ``figures`` (a table as text) to unfold."""
    table = f'<pre style="overflow-x: auto">{escape(figures)}</pre>'
    details = f'<details style="margin-left: 16px"><summary>in figures</summary>{table}</details>'
    return f"<div>{svg(chart)}{details}</div>"


def page(chart: Chart, figures: str) -> str:
    """A whole file of HTML, with nothing fetched from elsewhere."""
    head = f'<meta charset="utf-8"><title>{escape(chart.title)}</title>'
    style = "<style>body { font-family: sans-serif; margin: 1em auto; max-width: 800px }</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}{style}</head><body>{html(chart, figures)}</body></html>\n'
