"""How hypothesis draws: a few examples that are the same every time, or many new ones."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings


def quick(examples: int) -> settings:
    """The same every time; says at once what failed."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def thorough(examples: int) -> settings:
    """Looks for the new and shrinks it."""
    return settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
