"""Where a command's own options end and the rest of the line begins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pytest
import tyro

from reconfig.cli.options import Json, Planning
from reconfig.cli.raw import Raw, divide


@dataclass(frozen=True)
class Run(Raw):
    """Run a script."""

    rule: str = "10-10-4"
    model: str | None = None
    planning: Planning = field(default_factory=Planning)
    dry_run: Annotated[bool, tyro.conf.arg(help="Plan alone.")] = False
    json: Json = False


@pytest.mark.parametrize(
    ("line", "own"),
    [
        ("train.py --rule mine --help", 0),
        ("--rule 10-10-4 train.py --json", 2),
        ("--rule=10-10-4 train.py --json", 1),
        ("--dry-run --gamma 2 --strict --json train.py --gamma 3", 5),
        ("--dry_run train.py", 1),
        ("--input 3x32x32 -m package.module -m x", 2),
        ("--help", 1),
        ("--help train.py", 1),
        ("--rule", 1),
        ("--rule 10-10-4", 2),
        ("", 0),
    ],
)
def test_the_rest_begins_at_the_script(line: str, own: int) -> None:
    argv = line.split()
    assert divide(Run, argv) == (argv[:own], argv[own:])


def test_two_dashes_begin_the_rest() -> None:
    assert divide(Run, ["--dry-run", "--", "--odd", "--"]) == (["--dry-run"], ["--odd", "--"])


def test_other_commands_have_no_rest() -> None:
    assert divide(Planning, ["a", "--b"]) == (["a", "--b"], None)


def test_the_rest_is_put_in() -> None:
    assert Run(rule="d9-7-1").with_rest(("train.py", "--lr")) == Run(("train.py", "--lr"), rule="d9-7-1")
