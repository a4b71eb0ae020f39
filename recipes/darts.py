"""DARTS against DARTS-R."""

from __future__ import annotations

from reconfig.harness import Experiment, Network, PaperRow


def darts() -> Experiment:
    """DARTS, 11 cells (6.58 M parameters), against DARTS-R (2.53 M), SAT on CIFAR-10."""
    # The paper prints the figures of DenseNet-121 again in the cells named unsure.
    return Experiment(
        original=Network("zoo:darts"),
        variant=Network("zoo:darts", rule="10-10-4"),
        paper=(
            PaperRow(
                model="DARTS",
                params_m=6.58,
                clean=(86.76, 86.55),
                fgsm=(64.48, 67.10),
                pgd20=(49.44, 54.23),
                gama100=(46.52, 50.74),
                cw=(52.03, 54.00),
                aa=(45.16, 49.98),
                unsure=("cw",),
            ),
            PaperRow(
                model="DARTS-R",
                params_m=2.53,
                clean=(87.20, 85.79),
                fgsm=(66.74, 66.61),
                pgd20=(52.36, 55.01),
                gama100=(48.71, 50.94),
                cw=(53.07, 54.67),
                aa=(47.75, 50.54),
                unsure=("cw", "aa"),
            ),
        ),
    )
