"""DenseNet-121 against DN-121-R."""

from __future__ import annotations

from reconfig.harness import Experiment, Network, PaperRow


def densenet121() -> Experiment:
    """DenseNet-121 (6.96 M parameters) against DN-121-R (6.00 M), SAT on CIFAR-10."""
    return Experiment(
        original=Network("zoo:densenet121"),
        variant=Network("zoo:densenet121", rule="10-10-4"),
        paper=(
            PaperRow(
                model="DN-121",
                params_m=6.96,
                clean=(86.87, 86.07),
                fgsm=(65.56, 66.58),
                pgd20=(51.67, 54.79),
                gama100=(48.60, 51.00),
                cw=(52.03, 54.00),
                aa=(47.16, 50.34),
            ),
            PaperRow(
                model="DN-121-R",
                params_m=6.00,
                clean=(87.22, 86.01),
                fgsm=(67.12, 67.20),
                pgd20=(52.52, 55.16),
                gama100=(49.37, 51.44),
                cw=(53.07, 54.67),
                aa=(47.75, 50.54),
            ),
        ),
    )
