"""Plans out of JSON, where tuples have become lists, and keys text."""

from __future__ import annotations

from typing import Any

from cattrs import Converter
from cattrs.errors import ForbiddenExtraKeysError

from reconfig.rewrite.surgery import Kept
from reconfig.widths.algebra import Factor, Part


def _factor(value: Any, _: Any) -> int | Part:
    return value if isinstance(value, int) else Part(*value)


def _kept(value: Any, _: Any) -> Any:
    return tuple(_kept(item, _) for item in value) if isinstance(value, list) else value


UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, ForbiddenExtraKeysError)
"""What reading raises where the text is not what was written."""

RECORDS = Converter(forbid_extra_keys=True, detailed_validation=False)
RECORDS.register_structure_hook_func(lambda kind: kind == Factor, _factor)
RECORDS.register_structure_hook_func(lambda kind: kind == Kept, _kept)
