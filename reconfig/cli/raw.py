"""Commands that take the rest of the line as it stands, such as a script with the script's own arguments.

    @dataclass(frozen=True)
    class Run(Raw):
        rule: str = "10-10-4"
        dry_run: bool = False

        def __call__(self) -> int | None:
            run(self.rest, ...)

    reconfig run --rule 10-10-4 --dry-run train.py --rule mine --help

Here ``rest`` is ("train.py", "--rule", "mine", "--help"). The rest begins at the first argument that is neither an
option of the command's own nor the value of one, or at ``-m``, or behind ``--``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Annotated, Self, get_type_hints

import tyro

_HELP = ("-h", "--help")


@dataclass(frozen=True)
class Raw:
    """Base of a command whose own options end where its rest begins; each of them takes one value, or is a flag."""

    rest: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="SCRIPT [ARGUMENTS]", help_behavior_hint="")
    ] = ()
    """A script, or -m and a module, and all arguments of its own."""

    def with_rest(self, rest: tuple[str, ...]) -> Self:
        """The same with ``rest``."""
        return replace(self, rest=rest)


def divide(kind: object, argv: list[str]) -> tuple[list[str], list[str] | None]:
    """The arguments up to the rest, and the rest, for a ``Raw`` kind of command; all of them and None for another."""
    if not (isinstance(kind, type) and issubclass(kind, Raw)):
        return argv, None
    flags = {*_HELP, *_flags(kind)}
    position = 0
    while position < len(argv):
        word = argv[position]
        if word == "--":
            return argv[:position], argv[position + 1 :]
        if word == "-m" or not word.startswith("-"):
            break
        position += 1 if "=" in word or word.replace("_", "-") in flags else 2
    return argv[:position], argv[position:]


def _flags(kind: type) -> list[str]:
    """The options of ``kind``, and of the dataclasses in it, that take no value."""
    hints = get_type_hints(kind)
    flags: list[str] = []
    for field in fields(kind):
        hint = hints[field.name]
        if hint is bool:
            flags.append("--" + field.name.replace("_", "-"))
        elif is_dataclass(hint) and isinstance(hint, type):
            flags += _flags(hint)
    return flags
