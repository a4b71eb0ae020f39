"""ResNet-18 against the same by the paper's rule."""

from __future__ import annotations

from reconfig.harness import Experiment, Network


def resnet18() -> Experiment:
    """ResNet-18 (11.2 M parameters) against 10-10-4, SAT on CIFAR-10; the paper has no such row."""
    return Experiment(original=Network("zoo:resnet18"), variant=Network("zoo:resnet18", rule="10-10-4"))
