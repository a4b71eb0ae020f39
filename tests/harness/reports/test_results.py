from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.made_up import DATA, ONE, VGG, outcome, rescored
from rich.console import Console

from recipes import discover
from reconfig.harness import verdicts
from reconfig.harness.experiment import Evaluate, Experiment
from reconfig.harness.jobs.job import Job, make_jobs
from reconfig.harness.jobs.outcome import Outcome
from reconfig.harness.measuring.measures import MEASURES
from reconfig.harness.measuring.scores import VERDICTS
from reconfig.harness.reports.results import compare, differences, label, result
from reconfig.harness.reports.statistics import over_seeds
from reconfig.harness.reports.table import Table

THREE = {
    "original": [outcome("vgg11", 80.0 + seed, seed) for seed in range(3)],
    "variant": [outcome("vgg11 10-10-4", base, seed) for seed, base in enumerate((81.5, 83.0, 83.0))],
}


def never_run(of: dict[str, list[Outcome]]) -> dict[str, list[Job]]:
    """Jobs whose folders do not exist."""
    return {role: [Job(VGG.original, VGG, Path("nowhere"))] * len(runs) for role, runs in of.items()}


def table(experiment: Experiment = VGG, of: dict[str, list[Outcome]] = ONE) -> Table:
    return compare(experiment, of, DATA, differences(never_run(of).values(), of.values()))


def test_the_papers_row_stands_beside_each_network() -> None:
    rows = table().rows
    assert [row[0] for row in rows] == ["vgg11", "paper: VGG-11", "vgg11 10-10-4", "paper: VGG-11-R", "difference"]
    assert rows[0] == ["vgg11", "9,231,114", "80.00", "79.00", "60.00", "61.00", "50.00", "52.00"]
    assert rows[1] == ["paper: VGG-11", "9.23 M", "79.24", "77.84", "55.98 †", "56.68 †", "42.62", "45.46"]
    assert rows[4] == ["difference", "-36.8%", *["+1.00"] * 6]


def test_several_seeds_give_mean_spread_and_a_paired_test() -> None:
    comparison = table(of=THREE)
    assert comparison.rows[0][2] == "81.00 ± 1.00"
    difference = over_seeds([80.0, 81.0, 82.0], [81.5, 83.0, 83.0])
    assert comparison.rows[4][2] == str(difference) == f"+1.50 (p={difference.p:.2g})"
    assert any("seeds 0, 1, 2 (mean ± standard deviation)" in note for note in comparison.notes)
    assert any(note.endswith("p by paired t-test over 3 seeds.") for note in comparison.notes)
    assert any("vgg11: 76, 76, 76; vgg11 10-10-4" in note for note in comparison.notes)


def test_one_seed_is_tested_over_the_images_whose_verdicts_were_kept(tmp_path: Path) -> None:
    jobs = make_jobs(VGG.networks, VGG, tmp_path)
    for role, right in (("original", 40), ("variant", 50)):
        folder = jobs[role][0].folder / "best"
        folder.mkdir(parents=True)
        verdicts.write(folder / VERDICTS, {"pgd20": torch.arange(100) < right}, {})
    found = differences(jobs.values(), ONE.values())
    assert found["pgd20", "best"].mean == 10.0
    assert found["pgd20", "best"].p == pytest.approx(2 * 0.5**10)
    assert found["pgd20", "best"].test == "McNemar's exact test over 100 images"
    assert (found["clean", "best"].mean, found["clean", "best"].p) == (1.0, None)
    assert found["pgd20", "last"].p is None
    notes = compare(VGG, ONE, DATA, found).notes
    assert any("10,000 test images" in note for note in notes)
    assert "PGD-20: on the first 100 test images." in notes


def test_a_best_checkpoint_that_is_the_last_was_measured_once(tmp_path: Path) -> None:
    jobs = make_jobs(VGG.networks, VGG, tmp_path)
    same = {role: [replace(runs[0], epochs={"last": 100, "best": 100})] for role, runs in ONE.items()}
    for runs in jobs.values():
        (runs[0].folder / "last").mkdir(parents=True)
        verdicts.write(runs[0].folder / "last" / VERDICTS, {"fgsm": torch.ones(4, dtype=torch.bool)}, {})
    assert differences(jobs.values(), same.values())["fgsm", "best"].p == 1.0


def test_cells_that_the_paper_repeats_carry_a_mark() -> None:
    original, variant = discover()["darts"]().paper or ()
    marked = replace(original, unsure=("fgsm",))
    rows = table(replace(VGG, paper=(marked, variant))).rows
    assert rows[1][4:6] == ["64.48 † ?", "67.10 † ?"]
    assert rows[1][2:4] == ["86.76", "86.55"]


def test_each_row_of_the_paper_has_its_own_setting() -> None:
    wanted = {
        "wrn34": "SAT, 100 epochs on CIFAR-10",
        "wrn34_rst": "RST, 400 epochs on CIFAR-10 and 500,000 extra images",
        "wrn34_cifar100_mart": "MART, 100 epochs on CIFAR-100",
    }
    for name, trained in wanted.items():
        notes = table(discover()[name]()).notes
        assert f"paper: Huang et al. (2021), Table 2: {trained}; best selected on test images." in notes
    for name, recipe in discover().items():
        for paper in recipe().paper or ():
            assert ("CIFAR-100" in paper.trained) == ("cifar100" in name)
            assert ("RST, 400 epochs" in paper.trained) == ("rst" in name)
            assert paper.trained.startswith(recipe().train.method.upper())


def test_figures_of_the_paper_that_are_of_something_else_carry_a_mark() -> None:
    scores = {name: dict.fromkeys(("fgsm", "fgsm-random", "cw", "cw-batch"), 50.0) for name in ("last", "best")}
    shown = table(of={role: [rescored(runs[0], scores)] for role, runs in ONE.items()})
    assert shown.rows[1][2:] == [*("55.98 †", "56.68 †", "55.98", "56.68"), *("45.45 †", "46.29 †", "45.45", "46.29")]
    assert any(note.startswith("† CW climbs each image's own margin") for note in shown.notes)
    assert r"45.45 $\dagger$" in shown.latex()
    assert not any("†" in note for note in table(replace(VGG, paper=None)).notes)


def test_notes_say_in_which_precision_each_figure_was_taken_and_what_ran_compiled() -> None:
    assert "Computed in fp32: clean, FGSM, PGD-20." in table().notes
    low = {role: [rescored(runs[0], runs[0].scores, "bf16, compiled")] for role, runs in ONE.items()}
    assert "Computed in bf16, compiled: clean, FGSM, PGD-20." in table(of=low).notes
    counts = {"graphs": 5, "recompilations": 4, "compiled": 1068, "uncompiled": 0}
    low["variant"] = [replace(ONE["variant"][0], compiled=counts)]
    notes = table(of=low).notes
    assert "Computed in bf16, compiled or fp32: clean, FGSM, PGD-20." in notes
    assert any("10-10-4, seed 0: 1,068 calls ran compiled and 0 did not; 5 graphs, 4 of them" in note for note in notes)


def test_verdicts_computed_in_two_ways_are_not_paired(tmp_path: Path) -> None:
    jobs = make_jobs(VGG.networks, VGG, tmp_path)
    for runs in jobs.values():
        (runs[0].folder / "best").mkdir(parents=True)
        verdicts.write(runs[0].folder / "best" / VERDICTS, {"pgd20": torch.ones(100, dtype=torch.bool)}, {})
    low = ONE | {"variant": [rescored(ONE["variant"][0], ONE["variant"][0].scores, "bf16")]}
    assert differences(jobs.values(), ONE.values())["pgd20", "best"].p == 1.0
    assert differences(jobs.values(), low.values())["pgd20", "best"].p is None


def test_without_the_paper_there_are_our_rows_alone() -> None:
    comparison = table(replace(VGG, paper=None))
    assert [row[0] for row in comparison.rows] == ["vgg11", "vgg11 10-10-4", "difference"]
    assert not any("Huang" in note for note in comparison.notes)


def test_what_was_measured_has_columns_and_the_paper_may_lack_it() -> None:
    scores = {checkpoint: {"clean": 80.0, "stability": 70.0} for checkpoint in ("last", "best")}
    comparison = table(of={role: [rescored(runs[0], scores)] for role, runs in ONE.items()})
    titles = [f"{label(measure)} {checkpoint}" for measure in scores["last"] for checkpoint in ("last", "best")]
    assert comparison.header == ["network", "parameters", *titles]
    assert comparison.rows[1][2:] == ["79.24", "77.84", "–", "–"]


def test_every_measure_has_a_title() -> None:
    assert label("pgd20") == "PGD-20"
    assert len({label(measure) for measure in MEASURES}) == len(MEASURES)


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


def test_latex_is_a_booktabs_table_with_its_characters_escaped() -> None:
    notes = ["100 % of it"]
    header = ["network", "parameters", "clean last", "clean best", "PGD-20 last", "PGD-20 best"]
    latex = Table(header, [["a_b γ=2", "-3%", "1 ± 2", "+1", "&", "~"]], notes).latex().splitlines()
    assert latex == [
        r"% needs \usepackage{booktabs}",
        "% 100 % of it",
        r"\begin{tabular}{lrrrrr}",
        r"\toprule",
        r"\multicolumn{2}{c}{} & \multicolumn{2}{c}{clean} & \multicolumn{2}{c}{PGD-20} \\",
        r"\cmidrule(lr){3-4}",
        r"\cmidrule(lr){5-6}",
        r"network & parameters & last & best & last & best \\",
        r"\midrule",
        r"a\_b $\gamma$=2 & $-$3\% & 1 $\pm$ 2 & $+$1 & \& & \textasciitilde{} \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def many() -> Table:
    """A table of so many columns that neither a screen nor a page holds them."""
    measures = ("clean", "fgsm", "pgd20", "cw", "gama100", "aa", "stability", "lipschitz")
    scores = {checkpoint: dict.fromkeys(measures, 40.0) for checkpoint in ("last", "best")}
    return table(of={role: [rescored(runs[0], scores)] for role, runs in ONE.items()})


def test_a_table_too_wide_for_a_screen_has_the_networks_beside_each_other() -> None:
    plain = many()
    shown = plain.for_screen()
    assert shown.header == ["", "vgg11", "paper: VGG-11", "vgg11 10-10-4", "paper: VGG-11-R", "difference"]
    assert [row[0] for row in shown.rows] == plain.header[1:]
    assert [row[1:] for row in shown.rows] == [[row[1 + column] for row in plain.rows] for column in range(17)]
    assert f"| clean last | {plain.rows[0][2]} |" in plain.markdown()
    console = Console(file=io.StringIO(), width=140)
    console.print(plain.rich())
    assert isinstance(console.file, io.StringIO)
    assert "AutoAttack best" in console.file.getvalue()
    assert table().for_screen().header[0] == "network"  # this one is not too wide


def test_a_table_with_more_rows_than_columns_stays_as_it_is() -> None:
    tall = Table(["configuration", *many().header[1:]], [["d5-5-5", *many().rows[0][1:]]] * 60, [])
    assert tall.for_screen() is tall
    assert tall.latex().count("d5-5-5") == 60


def test_latex_too_wide_for_a_page_has_a_row_for_each_checkpoint() -> None:
    plain = table()
    latex = plain.latex().splitlines()
    latex = latex[latex.index(r"\toprule") - 1 :]
    assert latex[:9] == [
        r"\begin{tabular}{@{}ll*{5}{@{\hspace{7pt}}r}@{}}",
        r"\toprule",
        r" &  &  & paper: & vgg11 & paper: &  \\",
        r" &  & vgg11 & VGG-11 & 10-10-4 & VGG-11-R & difference \\",
        r"\midrule",
        r"parameters &  & 9,231,114 & 9.23 M & 5,830,475 & 5.83 M & $-$36.8\% \\",
        r"\addlinespace",
        r"clean & last & 80.00 & 79.24 & 81.00 & 79.63 & $+$1.00 \\",
        r" & best & 79.00 & 77.84 & 80.00 & 77.34 & $+$1.00 \\",
    ]
    assert max(map(len, latex)) < 80


def test_the_result_is_plain_json() -> None:
    difference = differences(never_run(THREE).values(), THREE.values())
    read = json.loads(json.dumps(result(VGG, THREE, DATA, difference, "python run.py", {"cpu": "some"}), default=str))
    assert [run["scores"]["best"]["pgd20"] for run in read["networks"]["original"]] == [52.0, 53.0, 54.0]
    assert read["statistics"]["clean"]["last"]["original"] == {"mean": 81.0, "std": 1.0, "count": 3}
    assert read["statistics"]["clean"]["last"]["difference"]["mean"] == 1.5
    assert read["experiment"]["threat"]["eps"] == "8/255"
    assert read["select"] == "holdout"
    assert read["versions"]["torch"]
    assert read["command"] == "python run.py"


def test_what_was_measured_later_of_one_network_alone_has_no_column() -> None:
    more = {name: held | {"aa": 40.0} for name, held in outcome("", 1).scores.items()}
    later = rescored(ONE["variant"][0], more)
    found = differences(never_run(ONE).values(), [ONE["original"], [later]])
    assert {measure for measure, _ in found} == {"clean", "fgsm", "pgd20"}
    found = differences(never_run(ONE).values(), [[later], [later]])
    assert found["aa", "best"].mean == 0.0


def test_verdicts_on_different_images_are_not_paired(tmp_path: Path) -> None:
    jobs = make_jobs(VGG.networks, VGG, tmp_path)
    for runs, count in zip(jobs.values(), (100, 50), strict=True):
        (runs[0].folder / "best").mkdir(parents=True)
        verdicts.write(runs[0].folder / "best" / VERDICTS, {"pgd20": torch.ones(count, dtype=torch.bool)}, {})
    found = differences(jobs.values(), ONE.values())
    assert found["pgd20", "best"].p is None
    assert "PGD-20: on the first 50 and 100 test images." in compare(VGG, ONE, DATA, found).notes


def test_extra_images_are_counted() -> None:
    notes = compare(VGG, ONE, DATA | {"extra": 500000}, differences(never_run(ONE).values(), ONE.values())).notes
    assert any("49,000 and 500,000 extra images" in note for note in notes)
