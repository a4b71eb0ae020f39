from __future__ import annotations

import pytest

from reconfig.harness.experiment import Evaluate, Train
from reconfig.harness.jobs.forecast import Times
from reconfig.harness.search import Search
from reconfig.harness.studies.search_budget import MARGIN, OVERHEAD, SearchError, plan_budget


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"minutes": 0}, r"minutes must be above 0, not 0"),
        ({"best": 0}, r"best must be at least 1, not 0"),
        ({"trial_epochs": 200}, r"trial_epochs is 200, and the training in full has train.epochs = 100"),
        ({"evaluate": Evaluate(attacks=("pgd20",), select="test")}, r"selects on the test images would report what it"),
        ({"evaluate": Evaluate(attacks=("fgsm",))}, r"evaluate.attacks must have pgd20"),
        ({"network": "zoo:vgg11 10-10-4"}, r"begins at a network without a rule and finds one; leave '10-10-4' out"),
        ({"network": "zoo:vgg11 gamma=x"}, r"'gamma=x' in variant 'zoo:vgg11 gamma=x' is no number"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_to_write(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Search(**({"network": "zoo:vgg11"} | fields))  # type: ignore[arg-type]


def test_a_network_may_be_made_smaller() -> None:
    assert Search(network="zoo:vgg11 gamma=0.1").original.gamma == 0.1


def search(minutes: float, epochs: int = 9, **fields: object) -> Search:
    return Search(network="zoo:vgg11", minutes=minutes, train=Train(epochs=epochs), **fields)  # type: ignore[arg-type]


def test_what_is_planned_fits_into_the_minutes() -> None:
    times = Times(epoch=2.0, measuring=1.0)
    for minutes in (10, 30, 300):
        budget = plan_budget(search(minutes), times, dearer=1.5, workers=2)
        assert budget.total == pytest.approx(60 * minutes)
        assert budget.finals == pytest.approx(3 * (9 * 2 + 1) * 1.5 * MARGIN)  # six networks, two at once
        assert budget.epochs == int(2 * budget.seconds / (2 * 1.5 * MARGIN))
        assert 60 * minutes == pytest.approx(OVERHEAD + budget.finals + 2 * budget.seconds)
    assert str(budget).startswith("about 5:00:00: twice ")


def test_longer_searches_have_longer_trials_but_none_longer_than_the_training_in_full() -> None:
    times = Times(epoch=1.0, measuring=0.0)
    lengths = [plan_budget(search(minutes, epochs=30), times, 1.0, 2).trial_epochs for minutes in (5, 6, 60, 600)]
    assert lengths == [3, 9, 27, 27]
    assert plan_budget(search(60, epochs=30, trial_epochs=5), times, 1.0, 2).trial_epochs == 5


def test_minutes_in_which_nothing_fits_are_refused_with_what_would() -> None:
    with pytest.raises(
        SearchError, match=r"minutes is 1, and the training in full of up to 6 networks takes"
    ) as caught:
        plan_budget(search(1), Times(epoch=2.0, measuring=1.0), 1.5, 2)
    enough = float(str(caught.value).split("--minutes ")[1].split(",")[0])
    assert plan_budget(search(enough), Times(epoch=2.0, measuring=1.0), 1.5, 2).trial_epochs == 3
