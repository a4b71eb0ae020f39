"""Frozen dataclasses of the harness as JSON has them, and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from fractions import Fraction
from typing import Any, TypeVar

from cattrs import Converter

Record = TypeVar("Record")

_CONVERTER = Converter(detailed_validation=False)
_CONVERTER.register_structure_hook(Fraction, lambda value, _: Fraction(value))


def plain(record: Any) -> dict[str, Any]:
    """The fields of a dataclass as JSON has them: tuples as lists, and what JSON does not know as its text."""
    return json.loads(json.dumps(asdict(record), default=str))


def read(kind: type[Record], fields: dict[str, Any]) -> Record:
    """The ``kind`` that ``plain`` makes these fields of.

    Raises:
        TypeError, ValueError, KeyError: If there is none: a field is missing, unknown, of another type, or refused.
    """
    record = _CONVERTER.structure(fields, kind)
    wrong = differences(fields, plain(record))
    if wrong:  # cattrs fills what is missing from the defaults, and makes an int of "3"
        raise ValueError(f"{kind.__name__} cannot be read: " + "; ".join(f"{name} is {was}" for name, was, _ in wrong))
    return record


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """The fields in which two records differ, by their whole names, with both values; a missing one is None."""
    one, other = flat(first), flat(second)
    names = sorted(one.keys() | other.keys())
    return [(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)]


def flat(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields by their whole names, such as train.attack.steps."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {prefix + name: value}
    return found
