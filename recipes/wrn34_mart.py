"""WRN-34-12 against WRN-34-R, MART on CIFAR-10."""

from __future__ import annotations

from dataclasses import replace

from recipes.wrn34 import wrn34
from reconfig.harness import TRAINING, Experiment, PaperRow


def wrn34_mart() -> Experiment:
    """WRN-34-12 (66.5 M parameters) against WRN-34-R (68.1 M), MART on CIFAR-10."""
    return replace(
        wrn34(),
        train=TRAINING["mart"],
        paper=(
            PaperRow(
                model="WRN-34-12",
                params_m=66.46,
                clean=(85.98, 82.62),
                fgsm=(66.85, 67.00),
                pgd20=(54.30, 57.95),
                gama100=(49.58, 52.20),
                cw=(52.29, 54.61),
                aa=(47.68, 51.21),
            ),
            PaperRow(
                model="WRN-34-R",
                params_m=68.12,
                clean=(86.09, 83.69),
                fgsm=(68.79, 68.18),
                pgd20=(56.31, 59.13),
                gama100=(51.40, 53.22),
                cw=(54.20, 55.44),
                aa=(49.90, 52.48),
            ),
        ),
    )
