from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.made_up import outcome
from scipy import stats

from reconfig.harness import verdicts
from reconfig.harness.data.dataset import Dataset, load_dataset
from reconfig.harness.experiment import Data, Train
from reconfig.harness.jobs.job import jobs_by_seed
from reconfig.harness.reports import rule_results
from reconfig.harness.reports.sweep_results import Report, Result
from reconfig.harness.studies.held import rules_at_cost
from reconfig.harness.sweep import Compare

SEEDS = 8
COMPARE = Compare(
    network="zoo:vgg11",
    gamma=0.04,
    rules=("10-10-10", "10-10-4", "10-10-7"),
    hold="params",
    data=Data("digits", test_limit=40, hold_out=16),
    train=Train(epochs=2),
    seeds=SEEDS,
)
EFFECT = {"original": 0.0, "10-10-4 params": 2.0, "10-10-7 params": 0.0}
"""By how much a network is more robust, in truth."""
PGD = ("pgd20", "best")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(COMPARE.data)


def study(compare: Compare, dataset: Dataset, out: Path) -> list[Result]:
    """What networks of known robustness reach: every seed has its luck, which all share, and every network its own."""
    generator = np.random.default_rng(3)
    luck = generator.normal(0, 2.0, compare.seeds)
    planned = rules_at_cost(compare, dataset)
    jobs = jobs_by_seed({each.folder: each.network for each in planned}, compare, out)
    found = []
    for each, plan in planned.items():
        own = generator.normal(0, 0.4, compare.seeds)
        runs = [
            replace(outcome(each.name, 70 + EFFECT[each.name] + float(luck[n] + own[n]), n), params=plan.params)
            for n in range(compare.seeds)
        ]
        for job in jobs[each.folder]:
            job.folder.mkdir(parents=True)
            rows = [
                {"epoch": epoch, "loss": 2.0, "clean": 70.0, "pgd20": 40.0, "train_robust": 45.0} for epoch in (1, 2)
            ]
            (job.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        found.append(Result(each, plan, jobs[each.folder], runs))
    return found


@pytest.fixture(scope="module")
def found(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    return study(COMPARE, dataset, tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def report(found: list[Result], dataset: Dataset) -> Report:
    return rule_results.report(COMPARE, found, dataset, "python sweep.py compare")


def test_a_true_effect_is_found_and_none_is_not(found: list[Result]) -> None:
    pairs = {each.name: known for each, known in rule_results.pair(found, PGD).items()}
    better, same = pairs["10-10-4 params"], pairs["10-10-7 params"]
    assert better.corrected is not None
    assert same.corrected is not None
    assert better.corrected < 0.001
    assert same.corrected > 0.05
    assert better.interval is not None
    assert same.interval is not None
    assert better.interval[0] < EFFECT["10-10-4 params"] < better.interval[1]
    assert same.interval[0] < 0 < same.interval[1]
    assert better.detectable is not None
    assert 0.3 < better.detectable < EFFECT["10-10-4 params"]


def test_without_pairs_the_luck_of_a_seed_would_hide_the_effect(found: list[Result]) -> None:
    original, better, _ = ([run.scores["best"]["pgd20"] for run in each.outcomes] for each in found)
    assert stats.ttest_ind(better, original).pvalue > 0.05
    paired = rule_results.pair(found, PGD)[found[1].configuration].difference
    assert paired.p == pytest.approx(stats.ttest_rel(better, original).pvalue)
    assert paired.mean == pytest.approx(np.mean(better) - np.mean(original))


def test_every_file_has_every_rule(report: Report) -> None:
    assert set(report.files) == {"results.csv", "figure.svg", "table.md", "table.tex", "result.json", "report.html"}
    rows = list(csv.DictReader(io.StringIO(report.files["results.csv"])))
    assert [(row["rule"], row["held"], row["trained"]) for row in rows] == [
        ("", "", "original"),
        ("10-10-10", "params", "original"),
        ("10-10-4", "params", "10-10-4_params"),
        ("10-10-7", "params", "10-10-7_params"),
    ]
    assert rows[1]["pgd20_best_p"] == ""
    assert float(rows[2]["pgd20_best_p_holm"]) < 0.001
    facts = json.loads(report.files["result.json"])
    assert [rule["network"] for rule in facts["rules"]] == ["original", "10-10-4_params", "10-10-7_params"]
    assert facts["differences"]["pgd20_best"]["10-10-4_params"]["corrected"] < 0.001
    page = report.files["report.html"]
    assert "Rules for original" in page
    assert page.count("<svg") == 2
    for text in (page, report.files["table.md"]):
        assert "p (Holm): corrected for the 2 networks compared with the original" in text
        assert "10-10-4, parameters held" in text
        assert "-0.17%" in text or "−0.17%" in text


def test_the_figure_has_a_marker_for_each_rule(report: Report) -> None:
    figure = report.files["figure.svg"]
    for text in ("original", "10-10-4", "10-10-7", "parameters (thousands)", "multiply-adds (thousands)"):
        assert f"<!-- {text} -->" in figure


@pytest.mark.slow  # as all that draw a report of their own
def test_images_are_counted_seed_by_seed(dataset: Dataset, tmp_path: Path) -> None:
    found = study(replace(COMPARE, seeds=2), dataset, tmp_path)
    right = torch.arange(40) < 20
    more = {"original": (right, right), "10-10-4 params": (torch.arange(40) < 30, torch.arange(40) < 21)}
    for result in found:
        for job, verdict in zip(result.jobs, more.get(result.configuration.name, (right, right)), strict=True):
            (job.folder / "best").mkdir()
            verdicts.write(job.folder / "best" / "verdicts.safetensors", {"pgd20": verdict}, {})
    first = rule_results.pair(found, PGD)[found[1].configuration]
    assert [each.p for each in first.images if each is not None] == pytest.approx([2 / 2**10, 1.0])
    assert (first.seeds(1), first.seeds(-1)) == (1, 0)
    table = rule_results.report(COMPARE, found, dataset, "sweep").tables[1]
    assert [row[-1] for row in table.rows if row[0].startswith("PGD-20 best: 10-10-4")] == ["1 / 0 of 2"]


@pytest.mark.slow
def test_one_seed_has_neither_interval_nor_power(dataset: Dataset, tmp_path: Path) -> None:
    compare = replace(COMPARE, seeds=1)
    found = study(compare, dataset, tmp_path)
    known = rule_results.pair(found, PGD)[found[1].configuration]
    assert (known.difference.p, known.interval, known.corrected, known.detectable) == (None, None, None, None)
    said = rule_results.report(compare, found, dataset, "sweep").tables[1].notes[0]
    assert said.endswith(
        "one seed: McNemar's test is of these two trained networks alone, and says nothing of the rule."
    )
