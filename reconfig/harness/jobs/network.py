"""A network of an experiment: planned for its images, and built."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import nn

import reconfig
import reconfig.zoo
from reconfig.harness.data.dataset import Dataset
from reconfig.harness.experiment import Network
from reconfig.harness.randomness import derived_seed

IDENTITY = "10-10-10"
"""The rule that changes nothing, with any number of stages: what gamma and a budget alone are applied to."""


class NetworkError(reconfig.ReconfigError):
    """A network that cannot be built."""


def plan_network(network: Network, dataset: Dataset) -> reconfig.Plan:
    """What ``network`` becomes for the classes and image size of ``dataset``; allocates no weights.

    Raises:
        NetworkError: If ``reconfig.zoo`` has no such factory.
        ReconfigError: If the network cannot take the images, or the rule does not fit it.
    """
    factories = _factories()
    if network.factory not in factories:
        raise NetworkError(f"reconfig.zoo has no factory {network.factory}; it has {', '.join(factories)}")
    with torch.device("meta"):
        model = factories[network.factory](num_classes=dataset.classes)
    example = torch.zeros(1, *dataset.shape, device="meta")
    rule = network.rule or IDENTITY
    return reconfig.plan(model, rule, gamma=network.gamma, budget=network.budget, example_input=example)


def build_network(network: Network, plan: reconfig.Plan, classes: int, seed: int) -> nn.Module:
    """The network of ``plan``, initialised from ``seed``."""
    torch.manual_seed(derived_seed("weights", seed))
    model = _factories()[network.factory](num_classes=classes)
    return model if network.rule is None else plan.apply(model)


def _factories() -> dict[str, Callable[..., nn.Module]]:
    """The functions of ``reconfig.zoo`` that need nothing but a number of classes."""
    functions = {name: getattr(reconfig.zoo, name) for name in sorted(reconfig.zoo.__all__)}
    return {
        name: function for name, function in functions.items() if inspect.isfunction(function) and _complete(function)
    }


def _complete(function: Callable[..., nn.Module]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return all(parameter.default is not parameter.empty for parameter in parameters if parameter.name != "num_classes")
