"""WRN-34-12 against WRN-34-R, RST on CIFAR-10 and 500,000 extra images."""

from __future__ import annotations

from dataclasses import replace

from recipes.wrn34 import wrn34
from reconfig.harness import TRAINING, Experiment, PaperRow


def wrn34_rst() -> Experiment:
    """WRN-34-12 (66.5 M parameters) against WRN-34-R (68.1 M), RST on CIFAR-10 and 500,000 extra images."""
    # The paper's extra images are those of Carmon et al. (2019): ti_500K_pseudo_labeled.pickle, by --data.extra.
    return replace(
        wrn34(),
        train=TRAINING["rst"],
        paper=(
            PaperRow(
                model="WRN-34-12",
                params_m=66.46,
                clean=(90.52, 90.36),
                fgsm=(76.01, 76.02),
                pgd20=(65.52, 65.56),
                gama100=(61.67, 61.70),
                cw=(64.30, 64.26),
                aa=(60.90, 60.96),
            ),
            PaperRow(
                model="WRN-34-R",
                params_m=68.12,
                clean=(90.73, 90.56),
                fgsm=(76.51, 76.44),
                pgd20=(66.46, 66.51),
                gama100=(62.38, 62.49),
                cw=(65.12, 65.10),
                aa=(61.49, 61.56),
            ),
        ),
    )
