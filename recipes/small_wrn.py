"""Which rule wins on a wide residual network so small that a core trains it in minutes."""

from __future__ import annotations

from fractions import Fraction

from reconfig.harness import Compare, Compute, Data, Evaluate, Train


def small_wrn() -> Compare:
    """WRN-16 of 4, 8 and 16 channels (11,326 parameters) and four rules at its two costs, SAT on CIFAR-10."""
    return Compare(
        network="zoo:wrn?depth=16&widen=1",
        gamma=0.25,
        # The last two are RobustResNet's ratios (Huang S. et al., 2023). Its depths as blocks, so that gamma solves the
        # widths: whole blocks alone would miss what is held by a sixth.
        rules=("10-10-10", "10-10-4", "10-10-7", "w2:2.5:1", "d2-2-1"),
        data=Data(train_limit=4200, hold_out=200),
        train=Train(epochs=2, batch=50, schedule="cosine"),
        # The last epoch is the best by decree: nothing overfits in so few, and one checkpoint is measured, not two.
        evaluate=Evaluate(
            attacks=("pgd20", "preview"), select_after=Fraction(1, 2), batch=200, aa_images=100, aa_shard=100
        ),
        compute=Compute(device="cpu", channels_last=True, attack="folded-channels-last"),
    )
