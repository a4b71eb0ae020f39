"""Nothing in a picture overlaps or leaves it, and every format shows the same."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest

import reconfig
from reconfig import zoo
from reconfig.picture.canvas import WIDTH, Box, Text, lay_out
from reconfig.picture.chart import Cell, Chart, Row
from reconfig.picture.html import html, page
from reconfig.picture.svg import svg

HUGE = 123_456_789
_STAGE = ("1,048,576 channels", "dense", "1,234 blocks", "988 M parameters")
LONG = Chart(
    "A" + "Very" * 60 + "LongName",
    f"{HUGE:,} → {HUGE:,} parameters, {HUGE * 1000:,} → {HUGE * 1000:,} multiply-adds",
    ("before " * 20, "after " * 20),
    (
        Row("stage 10", "1024x1024x1024", (Cell(1_048_576, _STAGE), Cell(1, _STAGE))),
        Row("stage 11", "7", (None, Cell(524_288, _STAGE))),
    ),
    tuple(f"frozen at {number}: " + "for a long reason that goes on and on, " * 8 for number in range(12)),
)
LAYERS = replace(
    LONG,
    rows=tuple(
        Row(
            f"features.{'block.' * 8}{number}.conv",
            "",
            (Cell(1280, ("1280 → 1280", "7x7", "g1280"), "all of it"), cell),
        )
        for number, cell in enumerate((None, Cell(12_800, ("12800 → 12800", "15x15", "g12800")), Cell(5, ("1x1",))))
    ),
    dense=True,
)
CHARTS = {
    "long": LONG,
    "layers": LAYERS,
    "empty": replace(LONG, rows=(), notes=()),
    "one": replace(LONG, columns=("channels",), rows=tuple(replace(row, cells=row.cells[:1]) for row in LONG.rows)),
}


def extent(shape: Box | Text) -> tuple[float, float, float, float]:
    """Left, top, right, bottom; of words as DejaVu writes them, which is wider than what most browsers have."""
    if isinstance(shape, Box):
        return shape.x, shape.y, shape.x + shape.width, shape.y + shape.height
    font = pytest.importorskip("matplotlib.font_manager").FontProperties(
        family="DejaVu Sans Mono" if shape.mono else "DejaVu Sans", weight="bold" if shape.bold else "normal"
    )
    path = pytest.importorskip("matplotlib.textpath").TextPath((0, 0), shape.words, shape.size, font, usetex=False)
    width = path.vertices[:, 0].max()
    left = shape.x - {"start": 0, "middle": width / 2, "end": width}[shape.anchor]
    return left, shape.y - 0.76 * shape.size, left + width, shape.y + 0.24 * shape.size


@pytest.mark.parametrize("name", CHARTS)
def test_nothing_overlaps_or_leaves_the_picture(name: str) -> None:
    canvas = lay_out(CHARTS[name])
    assert all(shape.words for shape in canvas.shapes if isinstance(shape, Text))
    extents = [(extent(shape), shape) for shape in canvas.shapes]
    for (left, top, right, bottom), shape in extents:
        assert 0 <= left <= right <= WIDTH, shape
        assert 0 <= top <= bottom <= canvas.height, shape
    for (one, first), (two, second) in combinations(extents, 2):
        apart = one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]
        assert apart, (first, second)


def test_a_real_network_fits_without_a_word_cut() -> None:
    plan = reconfig.plan(zoo.densenet121(), "10-10-4", gamma=2)
    words = [shape.words for shape in lay_out(plan.chart()).shapes if isinstance(shape, Text)]
    assert not [word for word in words if "…" in word]
    assert "2,048 channels" in words


def test_bars_are_as_long_as_there_are_channels() -> None:
    plan = reconfig.plan(zoo.resnet18(), "10-10-4")
    boxes = [shape for shape in lay_out(plan.chart()).shapes if isinstance(shape, Box)]
    lengths = [width for stage in plan.stages for width in stage.width]
    unit = max(box.width for box in boxes) / max(lengths)
    assert [box.width for box in boxes] == pytest.approx([length * unit for length in lengths])
    assert len({box.colour for box in boxes[:-1]}) == 1
    assert boxes[-1].colour != boxes[0].colour  # it alone changes


def test_only_the_first_notes_are_written_out() -> None:
    words = [shape.words for shape in lay_out(LONG).shapes if isinstance(shape, Text)]
    assert words[-1] == "and 4 more"
    assert any(word.startswith("frozen at 7: ") for word in words)
    assert not any(word.startswith("frozen at 8: ") for word in words)


def test_svg_is_xml_with_every_word() -> None:
    chart = replace(LAYERS, title="<b> & 'Net'", rows=(Row("a<b>&", "", (Cell(3, ("<1>",), '"all" & <it>'), None)),))
    root = ElementTree.fromstring(svg(chart))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"<b> & 'Net'", "a<b>&", "<1>", "gone"} <= set(texts)
    assert root.get("aria-label") == "<b> & 'Net'"
    assert '"all" & <it>' in [element.text for element in root.iter("{http://www.w3.org/2000/svg}title")]
    height = lay_out(chart).height
    assert (root.get("width"), root.get("viewBox")) == ("800", f"0 0 800 {height}")


class Tags(HTMLParser):
    """Every tag is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_the_picture_and_the_figures() -> None:
    tags = Tags()
    text = page(LONG, "a < b")
    tags.feed(text)
    assert tags.open == []
    assert svg(LONG) in text
    assert "a &lt; b</pre>" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")  # nothing is fetched
    assert html(LONG, "a < b") in text


def test_a_notebook_shows_the_picture_and_the_table() -> None:
    plan = reconfig.plan(zoo.vgg11(), "10-10-4")
    stages = reconfig.stages(zoo.vgg11())
    for shown in (plan, stages):
        assert shown._repr_svg_() == shown.svg() == svg(shown.chart())
        assert shown._repr_html_() == html(shown.chart(), str(shown))


def test_a_plan_draws_layers_of_its_model() -> None:
    model = zoo.vgg11()
    plan = reconfig.plan(model, "10-10-4")
    assert "features.25" in plan.svg(model)
    assert "features.25" not in plan.svg()


@pytest.mark.parametrize("name", ["long", "layers"])
def test_png_is_twice_as_sharp(name: str) -> None:
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    from reconfig.picture.png import png

    with image.open(BytesIO(png(replace(CHARTS[name], title="$x_1$")))) as picture:
        assert picture.size == (2 * WIDTH, 2 * lay_out(CHARTS[name]).height)
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 10


def test_the_picture_in_the_documentation_is_the_one_that_is_drawn() -> None:
    plan = reconfig.plan(zoo.wrn34_10(), "10-10-4", gamma=2)
    assert (Path(__file__).parents[2] / "docs" / "wrn34-r.svg").read_text() == plan.svg() + "\n"
