"""Networks trained behind a normalisation, through a run and all that comes after it; runs that begin with weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from helpers import own_networks
from rich.console import Console
from safetensors.torch import save_file
from torch import nn

import reconfig
from reconfig.harness import Normalised, files, load_network, own_weights
from reconfig.harness.data.dataset import load_dataset
from reconfig.harness.experiment import AnyNetwork, Attack, Compute, Data, Evaluate, Experiment, Train
from reconfig.harness.files import CheckpointError, DataError
from reconfig.harness.jobs.job import Job, complete
from reconfig.harness.jobs.network import build_network, plan_network
from reconfig.harness.machine.machine import Machine
from reconfig.harness.network import Network
from reconfig.harness.normalised import KNOWN, Moments
from reconfig.harness.options import AttackOptions, ExportOptions, ModelOptions
from reconfig.harness.studies import attack_later, attack_model, comparison, export, folder
from reconfig.harness.studies.folder import FolderError

DATA = Data("digits", train_limit=48, test_limit=20, hold_out=16, normalise="data")


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"{own_networks.write(tmp_path_factory.mktemp('own'))}:Net?width=6"


@pytest.fixture(scope="module")
def experiment(net: str) -> Experiment:
    return AnyNetwork(
        original=net,
        rule="10-4",
        data=DATA,
        train=Train(epochs=1, batch=16, attack=Attack(steps=1)),
        evaluate=Evaluate(attacks=("fgsm",)),
        compute=Compute(device="cpu"),
    ).experiment()


@pytest.fixture(scope="module")
def finished(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    AcceleratorState._reset_state(reset_partial_state=True)
    out = tmp_path_factory.mktemp("runs") / "behind"
    comparison.run(experiment, out)
    return out


def trained(run: Path, role: str = "variant") -> Normalised:
    found = load_network(run / role / "last.pt", 10)
    assert isinstance(found, Normalised)
    return found


def test_both_networks_have_it_and_nothing_else_changes(finished: Path, experiment: Experiment) -> None:
    found = files.read_json(finished / "config.json")["normalisation"]
    images = load_dataset(DATA).train.images.double() / 255
    torch.testing.assert_close(torch.tensor(found["mean"]), images.mean((0, 2, 3)).float())
    for role, network in experiment.networks.items():
        model = trained(finished, role)
        torch.testing.assert_close(model.std.flatten(), torch.tensor(found["std"]))
        saved = files.load_checkpoint(finished / role / "last.pt")["model"]
        assert {name for name in saved if not name.startswith("model.")} == {"mean", "std"}
        plain = plan_network(network, load_dataset(DATA))
        behind = reconfig.Plan.from_json((finished / role / "plan.json").read_text())
        assert (behind.params, behind.flops) == (plain.params, plain.flops)
        assert {name.removeprefix("model."): shape for name, shape in behind.after.items()} == {
            **plain.after,
            "mean": (3, 1, 1),
            "std": (3, 1, 1),
        }


def test_it_is_attacked_later_and_resumed_as_it_is(finished: Path, experiment: Experiment) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    assert "pgd20" in attack_later.run(AttackOptions(finished / "variant", attacks=("pgd20",), images=10))[0]
    folder.check_config(finished, folder.config(experiment, load_dataset(DATA), experiment.networks))
    other = replace(experiment, data=replace(DATA, normalise="imagenet"))
    with pytest.raises(FolderError, match=r"data\.normalise was data and is now imagenet; normalisation\.mean was \["):
        folder.check_config(finished, folder.config(other, load_dataset(DATA), experiment.networks))


def test_what_is_exported_has_it_wherever_it_is_read(finished: Path, net: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    _, how, where = export.run(ExportOptions(finished, path))
    assert where == "Normalised is the normalisation in it: from reconfig.harness import Normalised"
    network = eval(how.removeprefix("Read it with "), {"reconfig": reconfig, "Normalised": Normalised}).eval()
    images, model = load_dataset(DATA).test.images / 255, trained(finished)
    with torch.no_grad():
        assert torch.equal(network(images), model(images))
        assert not torch.equal(model.model(images), model(images))
    again = own_weights.load(net, path, 10)
    assert isinstance(again, Normalised)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
    AcceleratorState._reset_state(reset_partial_state=True)
    options = ModelOptions(net, path, "digits", (0.5,) * 3, (0.5,) * 3, attacks=("fgsm",), out=tmp_path / "attacked")
    with pytest.raises(DataError, match="has its normalisation in it; leave out --mean and --std"):
        attack_model.run(options)


def weights(net: str, place: Path, moments: Moments | None = None) -> str:
    """A file of the network's weights, as somebody else would leave it."""
    name, _, rest = net.partition("?")
    torch.manual_seed(7)
    model = reconfig.networks.build(f"{name}?num_classes=10&{rest}")
    model = model if moments is None else Normalised(model, *moments)
    save_file(model.state_dict(), place / "w.safetensors")
    return str(place / "w.safetensors")


def built(network: Network, moments: Moments | None) -> nn.Module:
    dataset = load_dataset(DATA)
    return build_network(network, plan_network(network, dataset, moments), 10, 0, moments)


@pytest.mark.parametrize("moments", [None, KNOWN["imagenet"]])
def test_a_run_begins_with_the_weights_of_a_file(net: str, moments: Moments | None, tmp_path: Path) -> None:
    path = weights(net, tmp_path, moments)
    whole = own_weights.load(net, Path(path), 10)
    original = built(Network(net, weights=path), moments)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in original.state_dict().items())
    variant = built(Network(net, "10-4", weights=path), moments)
    kernels = [
        next(module for module in model.modules() if isinstance(module, nn.Conv2d)).weight.flatten(1)
        for model in (variant, original)
    ]
    assert all(any(torch.equal(kernel, other) for other in kernels[1]) for kernel in kernels[0])  # inherited
    assert Network(net, weights=path).name == "own_net.py:Net?width=6 from w.safetensors"


def test_weights_that_changed_since_are_refused(net: str, experiment: Experiment, tmp_path: Path) -> None:
    path = weights(net, tmp_path)
    networks = {role: replace(network, weights=path) for role, network in experiment.networks.items()}
    out, dataset = tmp_path / "run", load_dataset(DATA)
    config = folder.config(experiment, dataset, networks)
    assert list(config["weights"]) == [path]
    folder.prepare(out, config, [])
    folder.check_config(out, folder.config(experiment, dataset, networks))
    other = own_weights.load(net, Path(path), 10).state_dict()
    save_file({name: value + 1 for name, value in other.items()}, path)
    with pytest.raises(
        FolderError, match=r"cannot resume in .*: weights\..*w\.safetensors was [0-9a-f]{16} and is now"
    ):
        folder.check_config(out, folder.config(experiment, dataset, networks))


def test_a_run_that_began_with_weights_is_read_back(
    net: str, experiment: Experiment, tmp_path: Path, machine: Machine
) -> None:
    path, dataset, out = weights(net, tmp_path), load_dataset(DATA), tmp_path / "run"
    network = Network(net, "10-4", weights=path)
    folder.prepare(out, folder.config(experiment, dataset, {"variant": network}), [out / "variant"])
    job = Job(network, experiment, out / "variant")
    complete(job, dataset, machine, Console(quiet=True), 100)
    plan = reconfig.Plan.from_json((out / "variant" / "plan.json").read_text())
    assert sum(value.numel() for value in trained(out).parameters()) == plan.params


def planned(net: str, place: Path) -> Path:
    """What reconfig.save writes of a variant."""
    name, _, rest = net.partition("?")
    model = reconfig.networks.build(f"{name}?num_classes=10&{rest}")
    plan = reconfig.plan(model, "10-4", example_input=torch.zeros(1, 3, 32, 32))
    reconfig.save(plan.apply(model), place / "r.safetensors", plan)
    return place / "r.safetensors"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda net, place: str(place / "none.pt"), r"none\.pt"),
        (
            lambda net, place: weights(net.replace("width=6", "width=8"), place),
            r"w\.safetensors does not hold the weights of",
        ),
        (
            lambda net, place: str(planned(net, place)),
            r"as a plan changed it, and the weights to begin with are those",
        ),
        (
            lambda net, place: weights(net, place, Moments((0.5,) * 3, (0.25,) * 3)),
            r"is behind a normalisation, and not that of data\.normalise: give --data\.mean 0\.5 0\.5 0\.5 --data",
        ),
    ],
    ids=["missing", "another network", "a plan", "another normalisation"],
)
def test_weights_that_do_not_do_are_refused_before_anything_is_written(
    make: Callable[[str, Path], str], message: str, net: str, experiment: Experiment, tmp_path: Path
) -> None:
    original = replace(experiment.original, weights=make(net, tmp_path))
    with pytest.raises(CheckpointError, match=message):
        comparison.run(replace(experiment, original=original), tmp_path / "run")
    assert not (tmp_path / "run").exists()
