"""What commands print."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any


def print_json(record: Any) -> None:
    """A dataclass as JSON."""
    print(json.dumps(asdict(record), indent=1))
