"""WRN-34-12 against WRN-34-R."""

from __future__ import annotations

from reconfig.harness import Experiment, Network, PaperRow


def wrn34() -> Experiment:
    """WRN-34-12 (66.5 M parameters) against WRN-34-R (WRN-34-10 at γ=2, 68.1 M), SAT on CIFAR-10."""
    return Experiment(
        original=Network("zoo:wrn34_12"),
        variant=Network("zoo:wrn34_10", rule="10-10-4", gamma=2.0),
        paper=(
            PaperRow(
                model="WRN-34-12",
                params_m=66.46,
                clean=(86.71, 87.20),
                fgsm=(64.06, 66.26),
                pgd20=(49.92, 53.09),
                gama100=(47.45, 50.40),
                cw=(52.23, 53.58),
                aa=(46.06, 49.18),
            ),
            PaperRow(
                model="WRN-34-R",
                params_m=68.12,
                clean=(87.62, 87.85),
                fgsm=(66.23, 68.15),
                pgd20=(51.08, 55.35),
                gama100=(48.45, 51.36),
                cw=(52.42, 54.57),
                aa=(46.75, 50.03),
            ),
        ),
    )
