"""What somebody may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_SHOWN = 3


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The names that look most like ``name``, the nearest first; capitals count little."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    return [by_lower[match] for match in get_close_matches(name.lower(), list(by_lower), n=_SHOWN, cutoff=0.6)]


def listing(names: Iterable[str], most: int = 8) -> str:
    """Names in words, the first of them where there are many."""
    sorted_names = sorted(names)
    more = f" and {len(sorted_names) - most} more" if len(sorted_names) > most else ""
    return ", ".join(sorted_names[:most]) + more
