from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
import tyro

import recipes
import reconfig
from reconfig.harness.building import build
from reconfig.harness.experiment import (
    TRAINING,
    Attack,
    Data,
    Evaluate,
    Experiment,
    Network,
    Threat,
    Train,
    WeightPerturbation,
)

PAPER = {
    "vgg11": ("sat", 10),
    "densenet121": ("sat", 10),
    "darts": ("sat", 10),
    "wrn34": ("sat", 10),
    "wrn34_trades": ("trades", 10),
    "wrn34_mart": ("mart", 10),
    "wrn34_rst": ("rst", 10),
    "wrn34_cifar100": ("sat", 100),
    "wrn34_cifar100_trades": ("trades", 100),
    "wrn34_cifar100_mart": ("mart", 100),
}
"""The training method of each of the paper's comparisons, and its number of classes."""


LATER = {
    "robustresnet_a1": (36_479_194, 19_222_738),
    "robustresnet_a2": (66_457_818, 39_033_982),
    "raresnet50": (20_050_178, 23_991_219),
}
"""Recipes for networks of later papers: the parameters of both, with 10 classes."""


@pytest.mark.parametrize("name", LATER)
def test_networks_of_later_papers(name: str) -> None:
    for network, parameters in zip(recipes.discover()[name]().networks.values(), LATER[name], strict=True):
        with torch.device("meta"):
            model = build(network.model, 10)
        plan = reconfig.plan(model, network.rule or "10-10-10", gamma=network.gamma, budget=network.budget)
        assert plan.params == parameters


def test_compound_scaling_is_compared_at_the_same_multiply_adds() -> None:
    original, variant = recipes.discover()["robust_scaling"]().networks.values()
    with torch.device("meta"):
        model = build(variant.model, 10)
    plan = reconfig.plan(model, variant.rule or "", budget=variant.budget)
    assert (original.model, original.rule) == (variant.model, None)
    assert plan.flops == pytest.approx(plan.flops_before, rel=2e-3)
    assert [stage.blocks[1] for stage in plan.stages] == [14, 14, 7]


def test_every_recipe_is_an_experiment() -> None:
    found = recipes.discover()
    assert {*PAPER, *LATER, "demo"} <= found.keys()
    for name, recipe in found.items():
        assert isinstance(recipe(), Experiment), name
        assert recipe.__doc__, name


def test_a_recipe_is_added_by_adding_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("from recipes.vgg11 import vgg11\ndef mine():\n    return vgg11()\n")
    monkeypatch.setattr(recipes, "__path__", [*recipes.__path__, str(tmp_path)])
    assert recipes.discover()["mine"]() == recipes.discover()["vgg11"]()


def test_a_file_without_its_function_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_study.py").write_text("")
    monkeypatch.setattr(recipes, "__path__", [*recipes.__path__, str(tmp_path)])
    with pytest.raises(TypeError, match=r"recipes/broken_study\.py has no function broken_study\(\)"):
        recipes.discover()


@pytest.mark.parametrize("name", PAPER)
def test_networks_have_the_size_that_the_paper_prints(name: str) -> None:
    experiment = recipes.discover()[name]()
    assert experiment.paper is not None
    for network, row in zip(experiment.networks.values(), experiment.paper, strict=True):
        with torch.device("meta"):
            model = build(network.model, PAPER[name][1])
        plan = reconfig.plan(model, network.rule or "10-10-10", gamma=network.gamma)
        assert round(plan.params / 1e6, 2) == row.params_m


@pytest.mark.parametrize("name", PAPER)
def test_the_paper_trains_them_alike(name: str) -> None:
    experiment = recipes.discover()[name]()
    assert experiment.train == TRAINING[PAPER[name][0]]
    assert experiment.train.attack.steps == 10
    assert experiment.train.attack.step * experiment.threat.eps == Fraction(2, 255)


def test_the_papers_schedule() -> None:
    assert Train() == TRAINING["sat"]
    for method in ("sat", "trades", "mart"):
        train = TRAINING[method]
        assert (train.epochs, train.batch, train.lr, train.schedule) == (100, 128, 0.1, "step")
        assert [part * train.epochs for part in train.milestones] == [75, 90]


def test_the_paper_finds_the_variant_more_robust() -> None:
    for name in PAPER:
        original, variant = recipes.discover()[name]().paper or pytest.fail(name)
        assert variant.pgd20[1] > original.pgd20[1]
        assert variant.aa[1] > original.aa[1]


def test_variants_derive_by_replace() -> None:
    experiment = recipes.discover()["vgg11"]()
    short = replace(experiment, train=replace(experiment.train, epochs=5))
    assert (short.train.epochs, experiment.train.epochs) == (5, 100)
    assert short.networks == experiment.networks
    with pytest.raises(FrozenInstanceError):
        experiment.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("network", "name"),
    [
        (Network("zoo:vgg11"), "zoo:vgg11"),
        (Network("zoo:vgg11", "10-10-4"), "zoo:vgg11 10-10-4"),
        (Network("zoo:wrn34_10", "10-10-4", gamma=2), "zoo:wrn34_10 10-10-4 γ=2"),
        (Network("zoo:wrn34_10", "10-10-4", budget="params"), "zoo:wrn34_10 10-10-4 budget=params"),
    ],
)
def test_a_network_has_a_name_for_tables(network: Network, name: str) -> None:
    assert network.name == name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Train(epochs=0), "train.epochs must be at least 1, not 0"),
        (lambda: Train(batch=0), "train.batch must be at least 1, not 0"),
        (lambda: Train(lr=0), "train.lr must be above 0, not 0"),
        (lambda: Train(lr=float("nan")), "train.lr must be above 0, not nan"),
        (lambda: Train(grad_clip=-1), "train.grad_clip must be above 0, not -1"),
        (lambda: Train(milestones=(Fraction(75),)), r"train.milestones are parts of the epochs.* not 75"),
        (lambda: Train(beta=0), "train.beta must be above 0, not 0"),
        (lambda: Train(average=1), "train.average must be at least 0 and below 1, not 1"),
        (lambda: WeightPerturbation(size=1), "train.awp.size must be at least 0 and below 1, not 1"),
        (lambda: WeightPerturbation(warmup=-1), "train.awp.warmup must be at least 0, not -1"),
        (lambda: Data(extra_part=Fraction(1)), "data.extra_part is a part of each batch, between 0 and 1, not 1"),
        (lambda: Threat(eps=Fraction(0)), "threat.eps must be above 0, not 0"),
        (lambda: Attack(steps=0), "attack.steps must be at least 1, not 0"),
        (lambda: Attack(step=Fraction(-1)), "attack.step must be above 0, not -1"),
        (lambda: Data(train_limit=0), "data.train_limit must be at least 1, not 0"),
        (lambda: Data(hold_out=0), "data.hold_out must be at least 1, not 0"),
        (lambda: Data(crop_padding=-1), "data.crop_padding must be at least 0, not -1"),
        (lambda: Evaluate(batch=0), "evaluate.batch must be at least 1, not 0"),
    ],
)
def test_values_that_make_no_sense_are_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("flags", "budget", "name"),
    [
        (["params"], "params", "zoo:vgg11 10-10-4 budget=params"),
        (["5000000"], 5_000_000, "zoo:vgg11 10-10-4 budget=5000000"),
        (["flops", "300000000"], ("flops", 300_000_000), "zoo:vgg11 10-10-4 budget=300,000,000 flops"),
    ],
)
def test_a_budget_is_written_in_words_or_as_a_number(flags: list[str], budget: object, name: str) -> None:
    network = tyro.cli(Network, args=["--model", "zoo:vgg11", "--rule", "10-10-4", "--budget", *flags])
    assert (network.budget, network.name) == (budget, name)
