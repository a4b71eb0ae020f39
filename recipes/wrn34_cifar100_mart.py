"""WRN-34-12 against WRN-34-R, MART on CIFAR-100."""

from __future__ import annotations

from dataclasses import replace

from recipes.wrn34 import wrn34
from reconfig.harness import TRAINING, Experiment, PaperRow


def wrn34_cifar100_mart() -> Experiment:
    """WRN-34-12 (66.5 M parameters) against WRN-34-R (68.2 M), MART on CIFAR-100."""
    # For images with 100 classes: --data names CIFAR-100 as parquet, with fine_label.
    return replace(
        wrn34(),
        train=TRAINING["mart"],
        paper=(
            PaperRow(
                model="WRN-34-12",
                params_m=66.53,
                clean=(58.51, 57.29),
                fgsm=(36.06, 39.48),
                pgd20=(26.50, 32.43),
                gama100=(23.85, 27.64),
                cw=(41.53, 38.73),
                aa=(23.33, 26.92),
            ),
            PaperRow(
                model="WRN-34-R",
                params_m=68.16,
                clean=(61.72, 58.27),
                fgsm=(39.68, 41.24),
                pgd20=(29.94, 34.12),
                gama100=(26.27, 29.33),
                cw=(39.20, 38.45),
                aa=(25.60, 28.63),
            ),
        ),
    )
