from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

from rich.console import Console

from benchmarks.harness.report import Comparison, Outcome, compare, result
from recipes import discover
from recipes.experiment import Evaluate, Experiment

VGG = discover()["vgg11"]()
DATA: dict[str, Any] = {"name": "some images", "train": 49000, "selection": 1000, "test": 10000}


def outcome(name: str, base: float) -> Outcome:
    scores = {
        "last": {"clean": base, "fgsm": base - 20, "pgd20": base - 30},
        "best": {"clean": base - 1, "fgsm": base - 19, "pgd20": base - 28},
    }
    return Outcome(name, 9231114, scores, {"last": 100, "best": 76}, 12.5)


OUTCOMES = {"original": outcome("vgg11", 80.0), "variant": outcome("vgg11 10-10-4", 81.0)}


def table(experiment: Experiment = VGG) -> Comparison:
    return compare(experiment, list(OUTCOMES.values()), DATA)


def test_the_papers_row_stands_beside_each_network() -> None:
    rows = table().rows
    assert [row[0] for row in rows] == ["vgg11", "paper: VGG-11", "vgg11 10-10-4", "paper: VGG-11-R"]
    assert rows[0] == ["vgg11", "9,231,114", "80.00", "79.00", "60.00", "61.00", "50.00", "52.00"]
    assert rows[1] == ["paper: VGG-11", "9.23 M", "79.24", "77.84", "55.98", "56.68", "42.62", "45.46"]


def test_cells_that_the_paper_repeats_carry_a_mark() -> None:
    original, variant = discover()["darts"]().paper or ()
    marked = replace(original, unsure=("fgsm",))
    rows = table(replace(VGG, paper=(marked, variant))).rows
    assert rows[1][4:6] == ["64.48 ?", "67.10 ?"]
    assert rows[1][2:4] == ["86.76", "86.55"]


def test_without_the_paper_there_are_our_rows_alone() -> None:
    comparison = table(replace(VGG, paper=None))
    assert [row[0] for row in comparison.rows] == ["vgg11", "vgg11 10-10-4"]
    assert not any("Huang" in note for note in comparison.notes)


def test_only_the_attacks_asked_for_have_columns() -> None:
    header = table(replace(VGG, evaluate=Evaluate(attacks=("pgd20",)))).header
    assert header == ["network", "parameters", "clean last", "clean best", "PGD-20 last", "PGD-20 best"]


def test_the_notes_say_how_the_best_was_chosen() -> None:
    assert any("1,000 images held out of the training set" in note for note in table().notes)
    assert any("vgg11: 76" in note for note in table().notes)
    tested = replace(VGG, evaluate=Evaluate(select="test"))
    assert any("PGD-20 accuracy on the test images" in note for note in table(tested).notes)


def test_markdown_and_terminal_hold_the_same_cells() -> None:
    comparison = table()
    lines = comparison.markdown().splitlines()
    assert lines[2] == "| " + " | ".join(comparison.rows[0]) + " |"
    console = Console(file=io.StringIO(), width=140)
    console.print(comparison.rich())
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert all(cell in shown for row in comparison.rows for cell in row)


def test_the_result_is_plain_json() -> None:
    made = result(VGG, OUTCOMES, DATA, "python run.py", {"cpu": "some"})
    read = json.loads(json.dumps(made, default=str))
    assert read["networks"]["original"]["scores"]["best"]["pgd20"] == 52.0
    assert read["experiment"]["threat"]["eps"] == "8/255"
    assert read["select"] == "holdout"
    assert read["versions"]["torch"]
    assert read["command"] == "python run.py"
