"""WRN-34-12 against WRN-34-R, TRADES on CIFAR-10."""

from __future__ import annotations

from dataclasses import replace

from recipes.wrn34 import wrn34
from reconfig.harness import TRAINING, Experiment, PaperRow


def wrn34_trades() -> Experiment:
    """WRN-34-12 (66.5 M parameters) against WRN-34-R (68.1 M), TRADES on CIFAR-10."""
    return replace(
        wrn34(),
        train=TRAINING["trades"],
        paper=(
            PaperRow(
                model="WRN-34-12",
                params_m=66.46,
                clean=(85.84, 84.59),
                fgsm=(65.70, 66.85),
                pgd20=(53.02, 56.01),
                gama100=(49.60, 52.35),
                cw=(53.35, 54.72),
                aa=(48.48, 51.83),
            ),
            PaperRow(
                model="WRN-34-R",
                params_m=68.12,
                clean=(86.77, 86.02),
                fgsm=(67.99, 68.49),
                pgd20=(55.15, 57.66),
                gama100=(51.92, 53.86),
                cw=(55.41, 56.30),
                aa=(50.90, 53.46),
            ),
        ),
    )
