"""WRN-28-10 against the same by RobustResNet's compound scaling."""

from __future__ import annotations

from reconfig.harness import TRAINING, Experiment, Network


def robust_scaling() -> Experiment:
    """WRN-28-10 against its compound scaling at the same multiply-adds (near WRN-A1), TRADES on CIFAR-10."""
    return Experiment(
        original=Network("zoo:wrn28_10"),
        variant=Network("zoo:wrn28_10", rule="robustresnet-compound", budget="flops"),
        train=TRAINING["trades"],
    )
