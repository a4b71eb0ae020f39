"""``reconfig rules``: every word of the rule language and every named rule, with where it comes from."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from reconfig.cli.options import Json
from reconfig.cli.printing import print_json


@dataclass(frozen=True)
class Rules:
    """List the words of the rule language and the named rules, each with its source."""

    json: Json = False

    def __call__(self) -> None:
        from reconfig.rule import NAMED
        from reconfig.words import WORDS

        if self.json:
            words = {word.example: {"meaning": word.meaning, "source": word.source} for word in WORDS.values()}
            print_json({"words": words, "named": {name: asdict(named) for name, named in NAMED.items()}})
            return
        print("Words of a rule, with spaces between:")
        for word in WORDS.values():
            print(f"\n  {word.example}\n    {word.meaning}\n    source: {word.source}")
        print("\nNamed rules:")
        for name, named in NAMED.items():
            print(f"\n  {name}\n    {named.rule}")
            about = {key: value for key, value in asdict(named).items() if key not in ("rule", "citation")}
            for key, value in about.items():
                print(f"    {key}: {value}")
            print(f"    source: {named.citation}")
