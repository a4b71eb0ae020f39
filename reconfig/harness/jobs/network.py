"""A network of an experiment: planned for its images, and built."""

from __future__ import annotations

import torch
from torch import nn

import reconfig
from reconfig.harness.building import build, skeleton
from reconfig.harness.data.dataset import Dataset
from reconfig.harness.network import Network
from reconfig.harness.randomness import derived_seed
from reconfig.harness.sweep import Held

IDENTITY = "10-10-10"
"""The rule that changes nothing, with any number of stages: what gamma and a budget alone are applied to."""


def plan_network(network: Network, dataset: Dataset) -> reconfig.Plan:
    """What ``network`` becomes for the classes and image size of ``dataset``.

    Raises:
        ReconfigError: One of its subclasses, if there is no such network, it does not take the images or answer with
            their classes, or the rule does not fit it.
    """
    model = skeleton(network.model, dataset.classes, dataset.shape)
    example = torch.zeros(1, *dataset.shape, device="meta")
    rule = network.rule or IDENTITY
    return reconfig.plan(model, rule, gamma=network.gamma, budget=network.budget, example_input=example)


def build_network(network: Network, plan: reconfig.Plan, classes: int, seed: int) -> nn.Module:
    """The network of ``plan``, initialised from ``seed``."""
    torch.manual_seed(derived_seed("weights", seed))
    model = build(network.model, classes)
    return model if network.rule is None else plan.apply(model)


def cost(plan: reconfig.Plan, held: Held) -> int:
    """What the network of ``plan`` has of ``held``."""
    return {"params": plan.params, "flops": plan.flops}[held]
