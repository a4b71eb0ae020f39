"""What the fields of the schema share: exact ratios, and the checks of numbers."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

from tyro.constructors import PrimitiveConstructorSpec


def _ratio(texts: list[str]) -> Fraction:
    try:
        return Fraction(texts[0])
    except ZeroDivisionError as error:
        raise ValueError(f"{texts[0]} divides by zero") from error


Ratio = Annotated[
    Fraction,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="RATIO",
        instance_from_str=_ratio,
        is_instance=lambda value: isinstance(value, Fraction),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""An exact number: written 8/255 (or 0.03) on the command line, and as a fraction in tables and JSON."""


def at_least(name: str, value: int, least: int) -> None:
    """Refuse a value below ``least``; the message calls it ``name``."""
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")


def positive(name: str, value: float | Fraction) -> None:
    """Refuse a value that is not above 0; the message calls it ``name``."""
    if not value > 0:  # NaN as well
        raise ValueError(f"{name} must be above 0, not {value}")


def check_moments(prefix: str, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> None:
    """Refuse a normalisation that is none; the message calls its two options ``prefix`` mean and std."""
    if (mean is None) != (std is None):
        raise ValueError(
            f"{prefix}mean and {prefix}std go together: give both, as in --{prefix}mean 0.485 0.456 0.406"
            f" --{prefix}std 0.229 0.224 0.225"
        )
    if std is not None and not min(std, default=0) > 0:
        raise ValueError(f"{prefix}std is what images are divided by, so above 0, not {std}")
