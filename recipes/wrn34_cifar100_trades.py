"""WRN-34-12 against WRN-34-R, TRADES on CIFAR-100."""

from __future__ import annotations

from dataclasses import replace

from recipes.wrn34 import wrn34
from reconfig.harness import TRAINING, Experiment, PaperRow


def wrn34_cifar100_trades() -> Experiment:
    """WRN-34-12 (66.5 M parameters) against WRN-34-R (68.2 M), TRADES on CIFAR-100."""
    # For images with 100 classes: --data names CIFAR-100 as parquet, with fine_label.
    return replace(
        wrn34(),
        train=TRAINING["trades"],
        paper=(
            PaperRow(
                model="WRN-34-12",
                params_m=66.53,
                clean=(55.62, 56.47),
                fgsm=(35.35, 36.90),
                pgd20=(27.52, 29.48),
                gama100=(24.94, 25.21),
                cw=(44.75, 46.19),
                aa=(24.58, 24.85),
            ),
            PaperRow(
                model="WRN-34-R",
                params_m=68.16,
                clean=(56.83, 56.75),
                fgsm=(36.95, 37.68),
                pgd20=(29.17, 29.92),
                gama100=(25.48, 25.48),
                cw=(45.04, 45.52),
                aa=(25.13, 25.23),
            ),
        ),
    )
