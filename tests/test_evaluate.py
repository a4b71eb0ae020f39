from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_training import EXPERIMENT, small_machine, small_network, small_split, small_training
from torch import nn

from benchmarks.harness.evaluate import ATTACKS, accuracy, scores
from benchmarks.harness.machine import Machine
from recipes.experiment import Evaluate


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return small_machine(tmp_path)


def test_the_attacks_are_the_papers() -> None:
    assert (ATTACKS["fgsm"].steps, ATTACKS["fgsm"].step, ATTACKS["fgsm"].random_start) == (1, 1, False)
    assert (ATTACKS["pgd20"].steps, float(ATTACKS["pgd20"].step), ATTACKS["pgd20"].random_start) == (20, 0.1, True)


def test_accuracy_counts_every_image_once(machine: Machine) -> None:
    class Constant(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([0.0, 1.0, 0.0]).expand(len(images), 3)

    for batch in (1, 7, 10, 1000):
        experiment = replace(EXPERIMENT, evaluate=Evaluate(batch=batch))
        assert accuracy(machine, Constant(), small_split(20), experiment) == 100 * 7 / 20


def test_attacks_lower_the_accuracy_of_a_trained_network(tmp_path: Path) -> None:
    training = small_training(tmp_path)
    training.run()
    experiment = replace(EXPERIMENT, threat=replace(EXPERIMENT.threat, eps=EXPERIMENT.threat.eps * 3))
    measured = scores(training.machine, training.model, small_split(60, seed=2), experiment)
    assert list(measured) == ["clean", "fgsm", "pgd20"]
    assert measured["pgd20"] <= measured["fgsm"] < measured["clean"]


def test_measuring_leaves_the_network_alone_and_repeats(machine: Machine) -> None:
    model, split = small_network(), small_split(25)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    first = scores(machine, model, split, EXPERIMENT)
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert scores(machine, model, split, EXPERIMENT) == first
