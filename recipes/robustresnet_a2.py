"""WRN-34-12 against RobustResNet-A2."""

from __future__ import annotations

from reconfig.harness import TRAINING, Experiment, Network


def robustresnet_a2() -> Experiment:
    """WRN-34-12 (66.5 M parameters) against RobustResNet-A2 (39.0 M), TRADES on CIFAR-10."""
    # Printed with the paper's code: 51.97 against 55.49 % under AutoAttack.
    return Experiment(
        original=Network("zoo:wrn34_12"), variant=Network("zoo:robustresnet_a2"), train=TRAINING["trades"]
    )
