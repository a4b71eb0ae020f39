from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from scipy import stats

from reconfig.harness.experiment import Compute
from reconfig.harness.jobs import ray_tasks, tuning
from reconfig.harness.jobs.space import Space
from reconfig.harness.jobs.trials import Kind, Known, Limits, Objective, Parameters, Report
from reconfig.harness.options import SweepOptions

SPACE = Space((16, 32, 64), (2, 2, 2), (True, True, True))
OPTIMUM = {"w2": 1.25, "w3": 0.5, "d1": 3, "d2": 2, "d3": 1}
EPOCHS, TRIAL_EPOCHS = 180, 9
ENDLESS = 1e9


def quality(parameters: Parameters) -> float:
    """In %, and 50 at the optimum alone: a doubled width costs 8 points there, a block 3."""
    widths = sum(math.log2(parameters[name] / OPTIMUM[name]) ** 2 for name in ("w2", "w3"))
    depths = sum((parameters[name] - OPTIMUM[name]) ** 2 for name in ("d1", "d2", "d3"))
    return 50 - 8 * widths - 3 * depths


def synthetic() -> Objective:
    """Trains nothing: the accuracy nears its end as one over the epochs. Workers are handed its code, not its name."""

    def objective(parameters: Parameters) -> Iterator[Report]:
        widths = sum(math.log2(parameters[name] / ratio) ** 2 for name, ratio in (("w2", 1.25), ("w3", 0.5)))
        depths = sum((parameters[name] - blocks) ** 2 for name, blocks in (("d1", 3), ("d2", 2), ("d3", 1)))
        for epoch in range(1, 10):
            yield Report(50 - 8 * widths - 3 * depths - 10 / epoch, epoch, seconds=1)

    return objective


class Hears:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.reports: dict[str, list[Report]] = {}
        self.parameters: dict[str, Parameters] = {}
        self.over: set[str] = set()

    def reported(self, parameters: Parameters, report: Report) -> None:
        self.parameters[str(parameters)] = parameters
        self.reports.setdefault(str(parameters), []).append(report)

    def ended(self, parameters: Parameters) -> None:
        self.over.add(str(parameters))

    def tick(self) -> None:
        pass

    @property
    def epochs(self) -> int:
        return sum(map(len, self.reports.values()))

    def best(self) -> float:
        """The quality of the trial that would be chosen: the best of those that came furthest."""
        chosen = max(self.reports, key=lambda name: (len(self.reports[name]), self.reports[name][-1].robust))
        return quality(self.parameters[chosen])


def tuned(kind: Kind, seed: int, scratch: Path) -> Hears:
    heard = Hears()
    limits = Limits(TRIAL_EPOCHS, EPOCHS, ENDLESS)
    tuning.tune(synthetic(), SPACE.distributions(), kind, limits, heard, scratch, seed=seed)
    return heard


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_search_finds_a_known_optimum_more_nearly_than_random_search(tmp_path: Path) -> None:
    found: dict[Kind, list[float]] = {"search": [], "random": []}
    with ray_tasks.started(SweepOptions(out=tmp_path, cpus=2), Compute(device="cpu")):
        for seed in range(20):
            for kind, qualities in found.items():
                heard = tuned(kind, seed, tmp_path / "ray")
                qualities.append(heard.best())
                assert EPOCHS <= heard.epochs <= EPOCHS + 1  # of trials that ran at once
    wins = sum(one > other for one, other in zip(found["search"], found["random"], strict=True))
    assert stats.binomtest(wins, 20, 0.5, alternative="greater").pvalue < 0.001
    assert sorted(found["search"])[10] > 47 > max(found["random"])


@pytest.mark.slow
def test_a_search_that_goes_on_counts_compares_and_proposes_with_what_is_known(tmp_path: Path) -> None:
    known = [
        Known(
            {"w2": 1.25, "w3": 0.5 * factor, "d1": 3, "d2": 2, "d3": 1}, tuple(40.0 + epoch for epoch in range(9)), True
        )
        for factor in (0.99, 1.0, 1.01)
    ]
    heard = Hears()
    limits = Limits(TRIAL_EPOCHS, 27 + 2, ENDLESS)  # two epochs are left
    first = [{"w2": 4.0, "w3": 4.0, "d1": 1, "d2": 1, "d3": 4}]
    with ray_tasks.started(SweepOptions(out=tmp_path, cpus=1), Compute(device="cpu")):
        tuning.tune(
            synthetic(), SPACE.distributions(), "search", limits, heard, tmp_path / "ray", first=first, known=known
        )
    assert heard.epochs == 2
    assert heard.parameters[str(first[0])] == first[0]
    assert len(heard.reports[str(first[0])]) == 1  # far worse than those known, so stopped after its first epoch
    assert str(first[0]) in heard.over
    assert not (tmp_path / "ray").exists()


@pytest.mark.slow
def test_trials_that_all_fail_end_the_search_with_the_reason(tmp_path: Path) -> None:
    def broken(parameters: Parameters) -> Iterator[Report]:
        raise RuntimeError("no such layer")
        yield Report(0.0, 1)

    def refused(parameters: Parameters) -> Iterator[Report]:
        yield Report(0.0, 1, error="the budget is out of reach")

    limits = Limits(TRIAL_EPOCHS, EPOCHS, ENDLESS)
    with ray_tasks.started(SweepOptions(out=tmp_path, cpus=2), Compute(device="cpu")):
        for objective, message in ((broken, "no such layer"), (refused, "the budget is out of reach")):
            with pytest.raises(ray_tasks.RayError, match=rf"the last \d trials trained nothing: .*{message}"):
                tuning.tune(objective, SPACE.distributions(), "search", limits, Hears(), tmp_path / "ray")
