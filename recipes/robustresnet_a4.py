"""WRN-70-16 against RobustResNet-A4."""

from __future__ import annotations

from reconfig.harness import TRAINING, Experiment, Network


def robustresnet_a4() -> Experiment:
    """WRN-70-16 (266.8 M parameters) against RobustResNet-A4 (147.3 M), TRADES on CIFAR-10."""
    # Printed with the paper's code: 52.80 against 56.29 % under AutoAttack.
    return Experiment(
        original=Network("zoo:wrn70_16"), variant=Network("zoo:robustresnet_a4"), train=TRAINING["trades"]
    )
