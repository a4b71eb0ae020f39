from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from helpers.made_up import DATA, ONE, VGG, rescored
from PIL import Image

import reconfig
from reconfig import zoo
from reconfig.harness.jobs.job import Job, make_jobs
from reconfig.harness.measuring import examples
from reconfig.harness.measuring.examples import Examples
from reconfig.harness.reports import page
from reconfig.harness.reports.results import compare, differences, result

ROWS = [{"epoch": epoch, "loss": 1.5, "clean": 70.0, "pgd20": 40.0, "train_robust": 45.0} for epoch in (1, 2)]
EPS = 8 / 255


def shown() -> Examples:
    """A grey image that the attack makes brighter by eps at one pixel and darker at another."""
    clean = torch.full((1, 3, 4, 4), 0.5)
    adversarial = clean.clone()
    adversarial[0, :, 0, 0] += EPS
    adversarial[0, :, 1, 1] -= EPS
    return Examples(clean, adversarial, torch.tensor([3]), torch.tensor([3]), torch.tensor([7]))


@pytest.fixture(scope="module")
def plans() -> dict[str, reconfig.Plan]:
    with torch.device("meta"):
        model = zoo.vgg11()
    example = torch.zeros(1, 3, 32, 32, device="meta")
    return {
        "original": reconfig.plan(model, "10-10-10", example_input=example),
        "variant": reconfig.plan(model, "10-10-4", example_input=example),
    }


@pytest.fixture
def jobs(tmp_path: Path) -> dict[str, list[Job]]:
    """The folders of a finished run, as far as the page reads them."""
    found = make_jobs(VGG.networks, VGG, tmp_path)
    for runs in found.values():
        runs[0].folder.mkdir()
        (runs[0].folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        examples.save(runs[0].folder / examples.NAME, shown())
    return found


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


def rendered(jobs: dict[str, list[Job]], plans: dict[str, reconfig.Plan], command: str = "python run.py") -> str:
    apart = differences(jobs.values(), ONE.values())
    made = result(VGG, ONE, DATA | {"classes": 10, "fingerprint": "abc"}, apart, command, {"cpu": "some", "gpu": None})
    return page.render(VGG, compare(VGG, ONE, DATA, apart), plans, jobs, ONE, made)


def test_the_page_holds_the_whole_report(jobs: dict[str, list[Job]], plans: dict[str, reconfig.Plan]) -> None:
    text = rendered(jobs, plans)
    for held in ("vgg11 10-10-4 against vgg11", "80.00", "paper: VGG-11-R", "difference", "python run.py"):
        assert held in text
    assert "width 205, " in text
    assert "fingerprint abc" in text
    assert text.count("<svg") == 2  # the curves, and the plan of the variant; the original is as it was


def test_the_page_needs_nothing_from_elsewhere(jobs: dict[str, list[Job]], plans: dict[str, reconfig.Plan]) -> None:
    tags = Tags(rendered(jobs, plans)).found
    assert not {"script", "link", "iframe"} & {tag for tag, _ in tags}
    sources = [attributes["src"] or "" for _, attributes in tags if "src" in attributes]
    assert len(sources) == 6
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    links = [value or "" for _, attributes in tags for name, value in attributes.items() if name.endswith("href")]
    assert all(link.startswith("#") for link in links)


def test_what_a_user_wrote_is_text_and_not_html(jobs: dict[str, list[Job]], plans: dict[str, reconfig.Plan]) -> None:
    text = rendered(jobs, plans, command="python run.py --out '<script>alert(1)</script>'")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_perturbations_are_magnified_around_grey(jobs: dict[str, list[Job]], plans: dict[str, reconfig.Plan]) -> None:
    tags = Tags(rendered(jobs, plans)).found
    (source, *_) = [attributes["src"] or "" for _, attributes in tags if attributes.get("alt") == "perturbation"]
    pixels = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
    assert [pixels.getpixel(at) for at in ((0, 0), (1, 1), (2, 2))] == [(255,) * 3, (0,) * 3, (128,) * 3]
    text = rendered(jobs, plans)
    assert "magnified 16 times" in text
    assert "7 (is 3)" in text


def test_numbers_have_a_minus_and_rules_their_hyphens(
    jobs: dict[str, list[Job]], plans: dict[str, reconfig.Plan]
) -> None:
    text = rendered(jobs, plans)
    assert '<td class="">−36.8%</td>' in text
    assert "vgg11 10-10-4</td>" in text


def test_a_wide_table_has_the_networks_beside_each_other(
    jobs: dict[str, list[Job]], plans: dict[str, reconfig.Plan]
) -> None:
    measures = ("clean", "fgsm", "pgd20", "cw", "gama100", "aa", "stability", "lipschitz")
    scores = {checkpoint: dict.fromkeys(measures, 40.0) for checkpoint in ("last", "best")}
    wide = {role: [rescored(runs[0], scores)] for role, runs in ONE.items()}
    apart = differences(jobs.values(), wide.values())
    made = result(VGG, wide, DATA | {"classes": 10, "fingerprint": "abc"}, apart, "python run.py", {"cpu": "some"})
    text = page.render(VGG, compare(VGG, wide, DATA, apart), plans, jobs, wide, made)
    tags = Tags(text).found
    assert [attributes["class"] for tag, attributes in tags if tag == "th" and "class" in attributes] == [
        *("", "", "paper", "", "paper", "difference")
    ]
    assert sum(tag == "td" and attributes.get("class") == "difference" for tag, attributes in tags) == 17
    swatches = [attributes for tag, attributes in tags if attributes.get("class") == "swatch"]
    assert len(swatches) == 6  # of two networks in this table, in that of the stages and over the images


def test_grey_images_are_shown_too() -> None:
    source = page._url(torch.ones(1, 2, 2))
    assert Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).getpixel((0, 0)) == (255, 255, 255)


def test_a_network_against_itself_keeps_both_apart() -> None:
    same = {role: [replace(runs[0], name="vgg11")] for role, runs in ONE.items()}
    assert page._names(same) == {"original": "vgg11 (original)", "variant": "vgg11 (variant)"}


def test_examples_are_the_first_of_each_class() -> None:
    assert examples._first_of_each(torch.tensor([2, 0, 2, 5, 0])).tolist() == [1, 0, 3]
