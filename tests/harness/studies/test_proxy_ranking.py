from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState
from helpers import own_networks
from torch import nn

from reconfig.harness import Normalised, files
from reconfig.harness.experiment import Attack, Compute, Data, Evaluate, Train
from reconfig.harness.files import DataError
from reconfig.harness.options import ProxyOptions, SweepOptions
from reconfig.harness.proxies.table import PROXIES
from reconfig.harness.studies import proxy_ranking, sweeping
from reconfig.harness.studies.proxy_ranking import RankingError
from reconfig.harness.sweep import Variants

RULES = ("10-4", "4-10", "10-20")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small networks, trained behind a normalisation."""
    net = f"{own_networks.write(tmp_path_factory.mktemp('own'))}:Net?width=6"
    out = tmp_path_factory.mktemp("runs") / "four"
    AcceleratorState._reset_state(reset_partial_state=True)
    sweep = Variants(
        variants=(net, *(f"{net} {rule}" for rule in RULES)),
        data=Data("digits", train_limit=48, test_limit=20, hold_out=16, normalise="data"),
        train=Train(epochs=1, batch=16, attack=Attack(steps=1)),
        evaluate=Evaluate(attacks=("pgd20",)),
        budget="flops",
        compute=Compute(device="cpu"),
    )
    sweeping.run(sweep, SweepOptions(out=out, here=True))
    return out


@pytest.fixture
def options(swept: Path) -> ProxyOptions:
    AcceleratorState._reset_state(reset_partial_state=True)
    return ProxyOptions(swept, batch=8, compute=Compute(device="cpu"))


def test_networks_are_judged_as_they_began_behind_their_normalisation(
    options: ProxyOptions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    judged: list[nn.Module] = []

    def watched(*given: Any) -> nn.Module:
        judged.append(build(*given))
        return judged[-1]

    build = proxy_ranking.build_network
    monkeypatch.setattr(proxy_ranking, "build_network", watched)
    found = files.read_json(proxy_ranking.run(options))
    assert len(judged) == len(found["networks"]) == 4
    assert all(isinstance(model, Normalised) for model in judged)
    assert found["tau"].keys() == found["beats_both_counts"].keys() | {"params", "flops"}
    assert found["beats_both_counts"].keys() == PROXIES.keys()
    for network in found["networks"]:
        assert all(math.isfinite(network[name]) for name in PROXIES)
    assert "Kendall's tau" in capsys.readouterr().out


def test_a_folder_that_cannot_be_ranked_says_why(options: ProxyOptions, tmp_path: Path) -> None:
    with pytest.raises(RankingError, match=r"was not measured by aa, but by .*pgd20; give one of these"):
        proxy_ranking.run(replace(options, measure="aa"))
    with pytest.raises(RankingError, match=r"holds 0 finished networks \(none\); ranking needs at least 4"):
        proxy_ranking.run(replace(options, path=tmp_path))


def test_other_images_are_refused(options: ProxyOptions, tmp_path: Path) -> None:
    shutil.copytree(options.path, tmp_path / "other")
    config = tmp_path / "other" / "config.json"
    files.write_json(config, files.read_json(config) | {"images": "0123456789abcdef"})
    with pytest.raises(DataError, match=r"digits .* holds other images than .*other was trained on; give theirs with"):
        proxy_ranking.run(replace(options, path=tmp_path / "other"))
