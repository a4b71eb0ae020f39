from __future__ import annotations

from pathlib import Path

import pytest
from helpers.own_networks import LAYERS, NET

import reconfig
from reconfig.harness.data.dataset import load_dataset
from reconfig.harness.experiment import Data
from reconfig.harness.jobs.network import plan_network
from reconfig.harness.jobs.space import Space, SpaceError, at_cost, published, space_of
from reconfig.harness.network import Network

DIGITS = load_dataset(Data("digits", train_limit=48, test_limit=20))
WRN = Network("zoo:wrn?depth=16&widen=1")
SPACE = Space((16, 32, 64), (2, 2, 2), (True, True, True))


def planned(network: Network) -> reconfig.Plan:
    return plan_network(network, DIGITS)


def test_a_wide_residual_network_has_widths_and_depths_to_search() -> None:
    assert space_of(WRN, planned) == SPACE
    assert set(SPACE.distributions()) == {"w2", "w3", "d1", "d2", "d3"}


def test_a_plain_network_has_widths_alone() -> None:
    space = space_of(Network("zoo:vgg11", "10-10-10", gamma=0.1), planned)
    assert space.widths == (64, 128, 256, 512, 512)
    assert set(space.distributions()) == {"w2", "w3", "w4", "w5"}


def test_a_network_of_one_stage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        "from torch import nn\n"
        "def One(num_classes=10):\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),"
        " nn.Linear(8, num_classes))\n"
    )
    with pytest.raises(SpaceError, match=r"has one stage, whose width the held cost decides"):
        space_of(Network(f"{tmp_path / 'one.py'}:One"), planned)


def test_a_rule_is_what_apply_takes_and_reads_back_as_its_parameters() -> None:
    parameters = {"w2": 1.2512, "w3": 0.4, "d1": 3, "d2": 2, "d3": 1}
    rule = SPACE.rule(parameters)
    assert rule == "d3-2-1 w1:1.25:0.4"
    network = at_cost(WRN, rule, ("params", 175_066))
    plan = planned(network)
    assert abs(plan.params / 175_066 - 1) < 0.02
    assert SPACE.point(rule, plan) == {"w2": 1.25, "w3": 0.4, "d1": 3, "d2": 2, "d3": 1}
    model = reconfig.apply(reconfig.networks.build("zoo:wrn?depth=16&widen=1"), rule, budget="params")
    assert sum(parameter.numel() for parameter in model.parameters()) == plan.params


def test_a_rule_of_the_networks_own_depth_says_widths_alone() -> None:
    assert SPACE.rule({"w2": 1, "w3": 0.4, "d1": 2, "d2": 2, "d3": 2}) == "w1:1:0.4"


def test_the_published_rules_that_fit_are_known_by_name_and_the_others_say_why_not() -> None:
    found, unfit = published(SPACE, WRN, planned, ("params", 175_066))
    assert list(found)[:2] == ["10-10-10", "10-10-4"]
    assert found["10-10-4"] == {"w2": 1.0, "w3": 0.4, "d1": 2, "d2": 2, "d3": 2}
    assert found["robustresnet-width"] == {"w2": 1.25, "w3": 0.5, "d1": 2, "d2": 2, "d3": 2}
    assert "huang2021" not in found  # 10-10-4 by another name
    assert "huang2021" not in unfit
    assert unfit["huang2021-depth"] == "d9-7-1 lies outside of what is searched"
    assert "has 4 depth terms and the model has 3 stages" in unfit["raresnet-50"]
    assert not found.keys() & unfit.keys()


def test_a_network_from_a_file_is_searched_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "layers.py").write_text(LAYERS)
    (tmp_path / "net.py").write_text(NET)
    assert len(space_of(Network(f"{tmp_path / 'net.py'}:Net"), planned).widths) >= 2
