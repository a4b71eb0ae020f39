from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reconfig.harness.jobs.outcome import Outcome
from reconfig.harness.jobs.short_training import Trial
from reconfig.harness.jobs.space import Space
from reconfig.harness.reports import landscape
from reconfig.harness.reports.landscape import Chosen, Final, Landscape
from reconfig.harness.search import Search


def trial(ratio: float, *robust: float, error: str = "") -> Trial:
    history = tuple({"epoch": number, "pgd20": value, "seconds": 1.0} for number, value in enumerate(robust, 1))
    return Trial(Path(), {"w2": ratio, "d1": 2}, f"w1:{ratio}", history, True, error, 1000, int(1e6 * ratio))


def final(rule: str, why: str, held_out: float, test: float, found: bool = False) -> Final:
    scores = {"clean": 90.0, "pgd20": test}
    outcome = Outcome(rule, 0, 1000, 10**6, {"best": scores, "last": scores}, {"best": 1, "last": 1}, 1.0, {}, None)
    return Final(Chosen(rule, why, found), [outcome], held_out)


def made() -> Landscape:
    search = Search(network="zoo:vgg11")
    trials = {
        "search": [*(trial(ratio, 30 + ratio, 40 + ratio) for ratio in (1.0, 2.0, 3.0)), trial(0.5, 20.0)],
        "random search": [trial(1.5, 31.5, 41.5), trial(2.5, 32.5, 42.5), trial(4.0, error="out of <reach>")],
    }
    finals = [
        final("10-10-10", "the original", 50.0, 48.0),
        final("w1:2.0", "number 1 of the search", 52.0, 49.0, found=True),
        final("w1:3.0", "number 2 of the search", 55.0, 47.0, found=True),
    ]
    space = Space((16, 32), (2, 0), (True, False))
    return Landscape(search, search.original, ("params", 1000), space, trials, {"w1:1.0": "10-10-10"}, finals)


def test_what_was_found_is_chosen_by_held_out_images_and_said_as_a_call() -> None:
    lines = landscape.conclusions(made())
    assert lines[0] == 'Found: reconfig.apply(model, "w1:3.0", budget="params")'  # not the better on the test images
    assert lines[1].startswith("Its robust accuracy (PGD-20, test): 47.00 %; the original 48.00 %; number 1 of the")
    assert lines[2] == (
        "Trials: search 4 in 7 epochs, best 43.0 % held out after 2;"
        " random search 3 in 4 epochs, best 42.5 % held out after 2"
    )
    assert "parameters (5 trials after 2 epochs): undefined: the same for all 5 networks" in lines[3]
    assert "multiply-adds (5 trials after 2 epochs): +1.00 [" in lines[4]


def test_a_smaller_network_has_its_cost_in_numbers() -> None:
    small = replace(made(), network=Search(network="zoo:vgg11 gamma=0.1").original)
    assert small.call() == 'reconfig.apply(model, "w1:3.0", budget=("params", 1000))'


def test_a_baseline_that_is_ahead_is_said_to_be() -> None:
    found = made()
    ahead = replace(found, finals=[final("10-10-4", "the rule of Huang et al. (2021)", 60.0, 50.0), *found.finals])
    assert (
        "On the held-out images 10-10-4 (the rule of Huang et al. (2021)) is ahead, 60.00 % to 55.00 %:"
        " the search found nothing better"
    ) in landscape.conclusions(ahead)


@pytest.mark.filterwarnings("error")
def test_the_page_shows_every_trial_and_escapes_what_it_quotes() -> None:
    page = landscape.render(made(), "python search.py <x>")
    assert "<svg" in page
    assert all(f"<td>w1:{ratio}</td>" in page for ratio in (1.0, 2.0, 3.0, 0.5, 1.5, 2.5, 4.0))
    assert "out of &lt;reach&gt;" in page
    assert "python search.py &lt;x&gt;" in page
    assert landscape.as_json(made(), "x")["found"]["rule"] == "w1:3.0"
