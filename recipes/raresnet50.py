"""RaResNet-50 against the same network at the depths and widths of ResNet-50."""

from __future__ import annotations

from fractions import Fraction

from reconfig.harness import Experiment, Network, Threat


def raresnet50() -> Experiment:
    """ResNet-50's depths and widths against RaResNet-50's, both in RaResNet's blocks, SAT at eps 4/255."""
    # The paper trains on ImageNet and prints 44.14 % under AutoAttack; --data takes any folder of images.
    return Experiment(
        original=Network("zoo:raresnet"),
        variant=Network("zoo:raresnet", rule="raresnet-50"),
        threat=Threat(eps=Fraction(4, 255)),
    )
