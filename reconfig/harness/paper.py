"""What Huang et al. (2021) report, to stand beside what was measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperRow:
    """A row of the paper's Table 2 (white-box robustness): accuracy in % at the (last, best) checkpoint."""

    model: str
    params_m: float
    """Millions of parameters."""
    clean: tuple[float, float]
    fgsm: tuple[float, float]
    pgd20: tuple[float, float]
    gama100: tuple[float, float]
    cw: tuple[float, float]
    aa: tuple[float, float]
    trained: str = "SAT, 100 epochs on CIFAR-10"
    """Method, epochs and images."""
    unsure: tuple[str, ...] = ()
    """Columns whose printed figures should be trusted least."""


@dataclass(frozen=True)
class Reported:
    """What the paper reports of a configuration of WRN-34-10: accuracies in % at the best checkpoint, SAT, CIFAR-10."""

    params_m: float | None = None
    """Millions of parameters."""
    clean: float | None = None
    pgd20: float | None = None
    about: bool = False
    """The accuracy is from the text, which rounds it to whole %; figures 1 to 3 print no numbers that we have."""
