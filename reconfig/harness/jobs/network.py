"""A network of an experiment: planned for its images, and built."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import reconfig
from reconfig.harness.building import build, skeleton
from reconfig.harness.data.dataset import Dataset
from reconfig.harness.files import CheckpointError
from reconfig.harness.network import Network
from reconfig.harness.normalised import Moments, Normalised, behind
from reconfig.harness.own_weights import load
from reconfig.harness.randomness import derived_seed
from reconfig.harness.sweep import Held

IDENTITY = "10-10-10"
"""The rule that changes nothing, with any number of stages: what gamma and a budget alone are applied to."""


def plan_network(network: Network, dataset: Dataset, moments: Moments | None = None) -> reconfig.Plan:
    """What ``network``, behind the normalisation by ``moments``, becomes for the classes and images of ``dataset``.

    Raises:
        ReconfigError: One of its subclasses, if there is no such network, it does not take the images or answer with
            their classes, the rule does not fit it, or its file of weights is missing or not of it.
    """
    model = skeleton(network.model, dataset.classes, dataset.shape)
    if network.weights is not None:
        model = _begun(network.model, Path(network.weights), dataset.classes, moments, model)
    model = behind(model, moments)
    example = torch.zeros(1, *dataset.shape, device="meta")
    rule, weights = network.rule or IDENTITY, "fresh" if network.weights is None else "inherit"
    return reconfig.plan(
        model, rule, gamma=network.gamma, budget=network.budget, example_input=example, weights=weights
    )


def build_network(
    network: Network, plan: reconfig.Plan, classes: int, seed: int, moments: Moments | None = None
) -> nn.Module:
    """The network of ``plan``, initialised from ``seed``, or begun with the weights of its file."""
    torch.manual_seed(derived_seed("weights", seed))
    model = build(network.model, classes)
    if network.weights is not None:
        model = _begun(network.model, Path(network.weights), classes, moments, model)
    model = behind(model, moments)
    return model if network.rule is None else plan.apply(model)


def cost(plan: reconfig.Plan, held: Held) -> int:
    """What the network of ``plan`` has of ``held``."""
    return {"params": plan.params, "flops": plan.flops}[held]


def _begun(model: str, path: Path, classes: int, moments: Moments | None, bare: nn.Module) -> nn.Module:
    """The network with the weights of a file, if they are those of ``bare``.

    Raises:
        CheckpointError: If they are not, or were trained behind another normalisation than that by ``moments``.
    """
    found = load(model, path, classes).train()
    if isinstance(found, Normalised):
        own = Moments(*(tuple(values.flatten().tolist()) for values in (found.mean, found.std)))
        if moments is None or not torch.allclose(torch.tensor(own), torch.tensor(moments)):
            raise CheckpointError(
                f"the network in {path} is behind a normalisation, and not that of data.normalise: give --data.mean"
                f" {' '.join(f'{value:.7g}' for value in own.mean)} --data.std"
                f" {' '.join(f'{value:.7g}' for value in own.std)}"
            )
        found = found.model
    shapes = [{name: value.shape for name, value in each.state_dict().items()} for each in (found, bare)]
    if shapes[0] != shapes[1]:
        raise CheckpointError(
            f"{path} holds {model} as a plan changed it, and the weights to begin with are those before a rule"
        )
    return found
