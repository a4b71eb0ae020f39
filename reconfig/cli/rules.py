"""``reconfig rules``: every named rule with its source."""

from __future__ import annotations

from dataclasses import dataclass

from reconfig.cli.options import Json


@dataclass(frozen=True)
class Rules:
    """List the named rules with their sources."""

    json: Json = False

    def __call__(self) -> None:
        from reconfig.rule import NAMED

        for name, named in NAMED.items():
            print(f"{name}  {named.rule}  {named.citation}")
