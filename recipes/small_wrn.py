"""Which rule wins on a wide residual network so small that a core trains it in minutes."""

from __future__ import annotations

from fractions import Fraction

from reconfig.harness import Compare, Compute, Data, Evaluate, Train


def small_wrn() -> Compare:
    """WRN-16 of 5, 10 and 20 channels (17,535 parameters) and four rules at its two costs, SAT on CIFAR-10."""
    return Compare(
        network="zoo:wrn?depth=16&widen=1&stem_stride=2",  # a quarter of the multiply-adds
        gamma=0.3125,
        # The last two are RobustResNet's ratios (Huang S. et al., 2023). Its depths as blocks, so that gamma solves the
        # widths: whole blocks alone would miss what is held by a sixth.
        rules=("10-10-10", "10-10-4", "10-10-7", "w2:2.5:1", "d2-2-1"),
        data=Data(train_limit=6200, hold_out=200),
        train=Train(epochs=2, batch=50, schedule="cosine"),
        # The last epoch is the best by decree: nothing overfits in so few, and one checkpoint is measured, not two.
        evaluate=Evaluate(
            attacks=("pgd20", "preview"), select_after=Fraction(1, 2), batch=500, aa_images=200, aa_shard=200
        ),
        compute=Compute(device="cpu", channels_last=True, attack="folded-channels-last"),
    )
