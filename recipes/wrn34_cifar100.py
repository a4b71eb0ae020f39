"""WRN-34-12 against WRN-34-R, SAT on CIFAR-100."""

from __future__ import annotations

from dataclasses import replace

from recipes.wrn34 import wrn34
from reconfig.harness import TRAINING, Experiment, PaperRow


def wrn34_cifar100() -> Experiment:
    """WRN-34-12 (66.5 M parameters) against WRN-34-R (68.2 M), SAT on CIFAR-100."""
    # For images with 100 classes: --data names CIFAR-100 as parquet, with fine_label.
    return replace(
        wrn34(),
        train=TRAINING["sat"],
        paper=(
            PaperRow(
                model="WRN-34-12",
                params_m=66.53,
                clean=(59.63, 60.64),
                fgsm=(33.67, 37.28),
                pgd20=(24.50, 27.61),
                gama100=(23.38, 24.95),
                cw=(43.78, 42.02),
                aa=(22.27, 24.42),
            ),
            PaperRow(
                model="WRN-34-R",
                params_m=68.16,
                clean=(61.17, 61.33),
                fgsm=(35.00, 38.72),
                pgd20=(25.03, 29.02),
                gama100=(23.38, 25.70),
                cw=(43.52, 41.46),
                aa=(22.72, 25.20),
            ),
        ),
    )
