from __future__ import annotations

import re
from dataclasses import replace

import pytest

from reconfig.harness.data.dataset import Dataset, load_dataset
from reconfig.harness.experiment import Data
from reconfig.harness.reports.rule_results import budgets
from reconfig.harness.studies.held import HeldError, rules_at_cost
from reconfig.harness.sweep import Compare

COMPARE = Compare(network="zoo:vgg11", gamma=0.125, rules=("10-10-10", "10-10-4"), data=Data("digits"))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(COMPARE.data)


def test_every_rule_has_what_the_original_has(dataset: Dataset) -> None:
    planned = rules_at_cost(COMPARE, dataset)
    (_, original), (params, at_params), (flops, at_flops) = planned.items()
    assert (original.params, original.flops) == (145_898, 2_619_008)
    assert [params.answers, flops.answers] == [(("10-10-4", "params"),), (("10-10-4", "flops"),)]
    assert at_params.params == pytest.approx(original.params, rel=0.001)
    assert at_flops.flops == pytest.approx(original.flops, rel=0.001)
    assert at_params.flops > 1.2 * original.flops
    assert params.network.budget == ("params", 145_898)


def test_what_comes_to_one_network_is_trained_once(dataset: Dataset) -> None:
    rules = ("10-10-10", "10-10-4", "25-25-10")  # the last two are in one ratio
    names = {each.name: each.answers for each in rules_at_cost(replace(COMPARE, rules=rules), dataset)}
    assert names == {
        "original": (("10-10-10", "params"), ("10-10-10", "flops")),
        "10-10-4 params": (("10-10-4", "params"), ("25-25-10", "params")),
        "10-10-4 flops": (("10-10-4", "flops"), ("25-25-10", "flops")),
    }


def test_how_near_each_comes_is_known_before(dataset: Dataset) -> None:
    table = budgets(COMPARE, rules_at_cost(COMPARE, dataset))
    assert table.rows == [
        ["original", "145,898", "2,619,008", "", "8 16 32 64 64"],
        ["10-10-10, parameters held", "145,898", "2,619,008", "+0.00%", "the original"],
        ["10-10-4, parameters held", "145,971", "3,783,952", "+0.05%", "11 20 40 81 32"],
        ["10-10-10, multiply-adds held", "145,898", "2,619,008", "+0.00%", "the original"],
        ["10-10-4, multiply-adds held", "102,198", "2,620,372", "+0.05%", "8 16 34 68 26"],
    ]


def test_rules_that_cannot_be_met_are_named_together(dataset: Dataset) -> None:
    with pytest.raises(HeldError) as refused:
        rules_at_cost(replace(COMPARE, rules=("10-10-4", "d2:2:1", "w2:2.5:1"), hold="flops"), dataset)
    text = str(refused.value)
    assert text.startswith(
        "2 of 3 rules for zoo:vgg11 cannot be compared: 'd2:2:1' with the multiply-adds held (stage 1"
    )
    assert "has no blocks" in text
    assert "'w2:2.5:1' with the multiply-adds held (rule w2:2.5:1 has 3 width terms and the model has 5 stages" in text
    assert text.endswith("Leave them out of --rules, or give others")


def test_a_rule_that_comes_nowhere_near_is_refused(dataset: Dataset) -> None:
    compare = Compare(network="zoo:wrn?depth=16&widen=1", rules=("d2:2:1",), hold="params")
    with pytest.raises(
        HeldError, match=r"'d2:2:1' with the parameters held \(the nearest has [\d,]+ for [\d,]+, \+1"
    ) as no:
        rules_at_cost(compare, dataset)
    enough = re.search(r"--within ([\d.]+) takes it", str(no.value))
    assert enough is not None
    assert len(rules_at_cost(replace(compare, within=float(enough[1])), dataset)) == 2
