"""The network is found, planned and rewritten in scripts of every kind, and the scripts go on as they were."""

from __future__ import annotations

import importlib
import re

import pytest
from runner import CLIENTS, Runner

import reconfig

FOUND = {  # client: (its words, parameters before and after, made where, found how)
    "imported.py": ((), 78_010, 34_462, "imported.py:9", "when it is moved or converted at {}/imported.py:9"),
    "own_class.py": ((), 24_234, 12_872, "own_class.py:24 in main", "when its parameters are read at {}/steps.py:25"),
    "factory.py": (
        ("--arch", "resnet14", "--rule", "mine"),
        175_226,
        69_966,
        "models/resnet.py:46 in resnet14, called from {}/factory.py:14",
        "when its parameters are read at {}/steps.py:25",
    ),
    "by_hub.py": ((), 5_418, 2_473, "hub/hubconf.py:15 in tiny", "when its parameters are read at {}/steps.py:25"),
    "wrapped.py": ((), 78_010, 34_462, "models/resnet.py:42 in resnet8", "when it is moved or converted at {}"),
    "averaged.py": ((), 78_010, 34_462, "models/resnet.py:42", "when it is copied or pickled at {}/averaged.py:12"),
    "by_timm.py": ((), 373_658, 191_422, "by_timm.py:8 by timm.create_model", "when its parameters are read at {}"),
    "by_torchvision.py": (
        (),
        11_173_962,
        4_438_689,
        "by_torchvision.py:9 by torchvision.models.resnet18",
        "when it is moved or converted at {}/by_torchvision.py:13",
    ),
}


QUICK = ("own_class.py", "imported.py", "by_timm.py")
"""The clients that are tried each time."""


@pytest.mark.parametrize(
    "client", [client if client in QUICK else pytest.param(client, marks=pytest.mark.slow) for client in FOUND]
)
def test_clients(runner: Runner, client: str) -> None:
    if client.startswith("by_t"):
        pytest.importorskip(client.removeprefix("by_").removesuffix(".py"))
    words, before, after, made, how = FOUND[client]
    ran = runner.run(client, *words)
    assert ran.code == 0, ran.err
    assert ran.parameters == after
    assert 0 < ran.loss < 4
    assert f"made at {CLIENTS}/{made.format(CLIENTS)}" in ran.err
    assert f"found {how.format(CLIENTS)}" in ran.err
    assert f"parameters {before:,} -> {after:,}" in ran.err
    assert ran.err.count("rewritten where it stands") == 1


@pytest.mark.slow
def test_a_class_that_is_named_is_rewritten_when_it_is_made(runner: Runner) -> None:
    ran = runner.run("--model", f"{CLIENTS}/own_class.py:Net", "own_class.py")
    assert (ran.code, ran.parameters) == (0, 12_872), ran.err
    assert "found by --model" in ran.err
    named = runner.run("--model", "models.resnet:ResNet", "imported.py")
    assert (named.code, named.parameters) == (0, 34_462), named.err


@pytest.mark.slow
def test_a_function_that_is_named_makes_the_network(runner: Runner) -> None:
    for name in ("models.resnet:resnet8", "models:resnet8", f"{CLIENTS}/models/resnet.py:resnet8"):
        ran = runner.run("--model", name, "teacher.py")
        assert (ran.code, ran.parameters) == (0, 34_462), ran.err
        assert "teacher 175226" in ran.out  # which stays as it is
    discriminator = runner.run("--model", "__main__:Discriminator", "--rule", "10-4", "gan.py")
    assert discriminator.code == 0, discriminator.err
    assert "Generator" not in discriminator.err


@pytest.mark.slow
def test_one_that_is_made_in_parts_or_again_or_after_training(runner: Runner) -> None:
    ran = runner.run("folds.py")
    assert ran.code == 0, ran.err
    assert re.findall(r"(\d+) parameters", ran.out) == ["34462", "34462"]
    assert "another 78010" in ran.out
    assert ran.err.count("found when") == 1
    assert (
        f"Scorer, made at {CLIENTS}/folds.py:22, is of the same architecture and rewritten by the same plan" in ran.err
    )
    assert "was made after training began, and stays as it is" in ran.err


@pytest.mark.slow
def test_what_refers_to_parts_of_the_network(runner: Runner) -> None:
    ran = runner.run("parts.py")
    assert ran.code == 0, ran.err
    assert ran.out.split() == ["26", "14560", "14560", "1", "False"]


@pytest.mark.slow
def test_networks_without_shapes_or_memory_at_first(runner: Runner) -> None:
    for client in ("lazy.py", "meta.py"):
        ran = runner.run(client)
        assert ran.code == 0, ran.err
        assert "rewritten where it stands" in ran.err
        assert 0 < ran.loss < 3


@pytest.mark.slow
def test_compiled_networks(runner: Runner) -> None:
    ran = runner.run("compiled.py")
    assert ran.code == 0, ran.err
    assert re.findall(r"(\d+) parameters", ran.out) == ["34462", "34462"]
    assert "still compiled" in ran.out


@pytest.mark.slow
def test_a_network_inside_of_its_attack(runner: Runner) -> None:
    ran = runner.run("attacked.py")
    assert (ran.code, ran.parameters) == (0, 34_462), ran.err
    assert "reconfig: ResNet is rewritten" in ran.err


@pytest.mark.slow
def test_the_random_stream_goes_on_as_it_would(runner: Runner) -> None:
    ran = runner.run("random_stream.py")
    again = runner.run("random_stream.py")
    bare = runner.run("random_stream.py", "--unused")
    assert ran.code == bare.code == 0, ran.err + bare.err
    assert ran.out.splitlines()[0] == bare.out.splitlines()[0]  # what is drawn afterwards
    assert ran.out == again.out  # and the weights under the script's seed
    assert ran.out.splitlines()[1] != bare.out.splitlines()[1]


def test_a_stored_plan_stands_for_a_rule(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(CLIENTS)
    plan = reconfig.plan(importlib.import_module("models").resnet8(), "10-10-5", gamma=1.5)
    (runner.folder / "plan.json").write_text(plan.to_json())
    ran = runner.run("imported.py", rule="plan.json")
    assert (ran.code, ran.parameters) == (0, plan.params), ran.err
    other = runner.run("own_class.py", rule="plan.json")
    assert other.code == 1
    assert "this plan was made for another architecture (ResNet)" in other.err
    both = runner.run("--gamma", "2", "imported.py", rule="plan.json")
    assert both.code == 1
    assert "leave these options out" in both.err


def test_a_dry_run_ends_where_the_network_is_made(runner: Runner) -> None:
    ran = runner.run("--dry-run", "--gamma", "1.5", "imported.py")
    assert (ran.code, ran.out) == (0, "")
    assert "ResNet, rule 10-10-4, gamma 1.5" in ran.err
    assert "rewritten" not in ran.err
