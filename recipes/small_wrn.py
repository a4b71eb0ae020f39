"""Which rule wins on a wide residual network so small that a core trains it in minutes."""

from __future__ import annotations

from fractions import Fraction

from reconfig.harness import Compare, Compute, Data, Evaluate, Train


def small_wrn() -> Compare:
    """WRN-10 of 6, 12 and 24 channels (11,320 parameters) and four rules at its two costs, SAT on CIFAR-10."""
    return Compare(
        network="zoo:wrn?depth=10&widen=1",
        gamma=0.375,
        # RobustResNet's two ratios (Huang S. et al., 2023). Of one block a stage, its depths are 2, 2 and 1.
        rules=("10-10-10", "10-10-4", "10-10-7", "w2:2.5:1", "d2-2-1"),
        **SMALL,
    )


SMALL = {
    "data": Data(train_limit=8200, hold_out=200),
    "train": Train(epochs=2, batch=50, schedule="cosine"),
    # The last epoch is the best by decree: after so few nothing overfits, and one checkpoint is measured, not two.
    "evaluate": Evaluate(attacks=("pgd20", "preview"), select_after=Fraction(1, 2), aa_images=200, aa_shard=200),
    "compute": Compute(device="cpu", channels_last=True),
}
