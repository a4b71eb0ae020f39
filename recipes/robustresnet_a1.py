"""WRN-28-10 against RobustResNet-A1."""

from __future__ import annotations

from reconfig.harness import TRAINING, Experiment, Network


def robustresnet_a1() -> Experiment:
    """WRN-28-10 (36.5 M parameters) against RobustResNet-A1 (19.2 M), TRADES on CIFAR-10."""
    # Printed with the paper's code: 51.66 against 54.42 % under AutoAttack.
    return Experiment(
        original=Network("zoo:wrn28_10"), variant=Network("zoo:robustresnet_a1"), train=TRAINING["trades"]
    )
