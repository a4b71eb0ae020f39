"""WRN-46-14 against RobustResNet-A3."""

from __future__ import annotations

from reconfig.harness import TRAINING, Experiment, Network


def robustresnet_a3() -> Experiment:
    """WRN-46-14 (128.4 M parameters) against RobustResNet-A3 (75.9 M), TRADES on CIFAR-10."""
    # Printed with the paper's code: 52.63 against 55.84 % under AutoAttack.
    return Experiment(
        original=Network("zoo:wrn46_14"), variant=Network("zoo:robustresnet_a3"), train=TRAINING["trades"]
    )
