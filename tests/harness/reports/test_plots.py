from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from reconfig.harness.reports import plots
from reconfig.harness.reports.plots import Point

ROWS = [
    {"epoch": epoch, "loss": 2.0 / epoch, "clean": 70.0, "pgd20": 40.0, "train_robust": 45.0} for epoch in (1, 2, 3)
]
POINTS = [
    Point(f"d{depth}-5-5", "Stage-1", float(depth), depth * 1e6, 50.0 + depth, 0.0, 52.0 if depth == 5 else None)
    for depth in (9, 1, 5)
]


def texts(svg: str) -> list[str]:
    """Every text of a picture: matplotlib draws letters as paths, each text after a comment that says it."""
    builder = ElementTree.TreeBuilder(insert_comments=True)
    root = ElementTree.fromstring(svg, ElementTree.XMLParser(target=builder))
    return [(found.text or "").strip() for found in root.iter(ElementTree.Comment)]  # type: ignore[arg-type]


def test_curves_show_every_metric_of_every_network() -> None:
    svg = plots.curves({"vgg11": [ROWS], "vgg11 10-10-4": [ROWS]})
    assert {"vgg11", "vgg11 10-10-4", "training loss", "epoch"} <= set(texts(svg))
    assert all(colour.lower() in svg for colour in plots.COLOURS[:2])


def test_there_may_be_more_networks_than_markers() -> None:
    names = [f"a rule with a longer name {number}" for number in range(2 * len(plots.MARKERS))]
    assert set(names) <= set(texts(plots.curves({name: [ROWS] for name in names})))


def test_ticks_are_whole_numbers_of_their_own() -> None:
    close = {str(loss): [[{**ROWS[0], "loss": loss}]] for loss in (2.224, 2.2246)}
    found = texts(plots.curves(close))
    assert not [text for text in found if text.startswith("+")]
    ticks = "".join(f"[{text}]" for text in found)
    assert re.findall(r"\[([\d.]+)\]\[epoch\]", ticks) == ["1"] * 4  # the only epoch, and no part of one
    assert {"2.2240", "2.2246"} <= set(found)  # losses stand on their axis in full


def test_several_seeds_have_a_band_and_one_has_a_ring() -> None:
    one, three = plots.curves({"net": [ROWS]}), plots.curves({"net": [ROWS] * 3})
    assert "FillBetweenPolyCollection" in three
    assert "FillBetweenPolyCollection" not in one


def test_a_picture_is_the_same_each_time() -> None:
    assert plots.curves({"net": [ROWS]}) == plots.curves({"net": [ROWS]})


@pytest.mark.parametrize(
    ("draw", "shown"),
    [
        (lambda points: plots.scatter(points, "title"), ["title", "parameters (millions)", "d9-5-5", "d1-5-5"]),
        (
            lambda points: plots.ranking(points, "title"),
            ["title", "59.00", "51.00", "9 M parameters"],
        ),
        (lambda points: plots.panels(points, "blocks"), ["Stage-1", "blocks", "9", "1"]),
        (lambda points: plots.line(points, "blocks", "title"), ["title", "blocks", "9", "1"]),
        (lambda points: plots.grid(points, "title"), ["title", "depths", "59.00", "51.00", "Stage-1"]),
    ],
    ids=["scatter", "ranking", "panels", "line", "grid"],
)
@pytest.mark.parametrize("count", [1, 2])
def test_every_figure_shows_what_one_point_and_several_are(
    draw: Callable[[Sequence[Point]], str], shown: list[str], count: int
) -> None:
    points = [replace(point, paper=None) for point in POINTS[:count]]  # the first has depth 9, the second 1
    found = texts(draw(points))
    assert "PGD-20 accuracy (%)" in found
    of_the_second = ("d1-5-5", "51.00", "1")
    for text in shown:
        assert (text in found) == (count == 2 or text not in of_the_second), text
    assert ("ours" in found) == ("paper" in found)


def test_points_lie_where_their_figures_say() -> None:
    """A marker for each point, further right for more parameters and further up for more robustness."""
    root = ElementTree.fromstring(plots.scatter([replace(point, paper=None) for point in POINTS], "title"))
    markers = [
        (float(use.attrib["x"]), float(use.attrib["y"]))
        for line in root.iter("{http://www.w3.org/2000/svg}g")
        if line.attrib.get("id", "").startswith("line2d")
        for group in line
        for use in group.iter("{http://www.w3.org/2000/svg}use")
        if f"fill: {plots.COLOURS[0].lower()}" in use.attrib.get("style", "").lower()
    ]
    assert len(markers) == 3
    nine, one, five = markers  # in the order of the points
    assert one[0] < five[0] < nine[0]
    assert nine[1] < five[1] < one[1]  # SVG counts from the top


def test_points_of_a_line_are_in_order() -> None:
    found = texts(plots.line(POINTS, "blocks", "title"))
    assert found.index("1") < found.index("5") < found.index("9")
    assert {"ours", "paper"} <= set(found)


def test_a_figure_without_the_papers_figures_has_no_legend_for_them() -> None:
    ours = [replace(point, paper=None) for point in POINTS]
    assert not {"paper", "ours"} & set(texts(plots.line(ours, "blocks", "title")))


def test_a_full_grid_search_names_the_extremes_alone() -> None:
    draws = np.random.default_rng(0)
    many = [
        Point(f"d{index}", "", 0.0, 1e6 * index, float(draws.uniform(48, 54)), 0.0, None) for index in range(1, 126)
    ]
    ranked = sorted(many, key=lambda point: point.robust)
    named = {text for text in texts(plots.scatter(many, "title")) if text.startswith("d")}
    assert named == {point.name for point in [*ranked[:4], *ranked[-6:]]}


def test_a_grid_with_holes_shows_what_there_is() -> None:
    points = [Point("a", "d9-7-1", 4.0, 1e6, 54.32, 0.0, None), Point("b", "d5-5-5", 2.0, 1e6, 51.0, 0.0, None)]
    found = texts(plots.grid(points, "title"))
    assert {"54.32", "51.00", "d9-7-1", "d5-5-5", "4", "2"} <= set(found)
    assert "nan" not in found
