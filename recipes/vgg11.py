"""VGG-11 against VGG-11-R."""

from __future__ import annotations

from reconfig.harness import Experiment, Network, PaperRow


def vgg11() -> Experiment:
    """VGG-11 (9.23 M parameters) against VGG-11-R (5.83 M), SAT on CIFAR-10: the first rows of Table 2."""
    return Experiment(
        original=Network("zoo:vgg11"),
        variant=Network("zoo:vgg11", rule="10-10-4"),
        paper=(
            PaperRow(
                model="VGG-11",
                params_m=9.23,
                clean=(79.24, 77.84),
                fgsm=(55.98, 56.68),
                pgd20=(42.62, 45.46),
                gama100=(38.59, 40.65),
                cw=(45.45, 46.29),
                aa=(37.21, 39.84),
            ),
            PaperRow(
                model="VGG-11-R",
                params_m=5.83,
                clean=(79.63, 77.34),
                fgsm=(57.35, 57.11),
                pgd20=(43.93, 45.97),
                gama100=(39.71, 41.31),
                cw=(46.49, 47.23),
                aa=(38.44, 40.65),
            ),
        ),
    )
