"""The page on the architecture names files that are there, and the rules of the house hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PATHS = sorted(set(re.findall(r"`((?:reconfig|recipes|benchmarks|docs|tests)/[\w./-]*)`", PAGE)))
SOURCES = [path for folder in ("reconfig", "recipes", "benchmarks") for path in (ROOT / folder).rglob("*.py")]


def lines(path: Path) -> int:
    return path.read_text(encoding="utf-8").count("\n")


def test_every_path_that_the_page_names_is_there() -> None:
    assert len(PATHS) > 40
    missing = [path for path in PATHS if not (ROOT / path).exists()]
    assert missing == []


def test_the_table_says_where_to_change_at_least_twenty_things() -> None:
    rows = re.findall(r"(?m)^\| (?!to \.\.\.|---)(.*?) \| (.*?) \|$", PAGE)
    assert len(rows) >= 20
    assert all(re.search(r"`(reconfig|recipes|benchmarks)/", where) for _, where in rows)


def test_every_room_has_a_place_in_the_picture() -> None:
    rooms = {path.parent.name for path in (ROOT / "reconfig").glob("**/__init__.py")} - {"reconfig"}
    assert {room for room in rooms if f"{room}/" not in PAGE} == set()


def test_one_idea_a_file() -> None:
    assert {path.name: lines(path) for path in SOURCES if lines(path) > 400} == {}
    assert {path.name: lines(path) for path in (ROOT / "tests").rglob("*.py") if lines(path) > 600} == {}


def test_no_test_module_imports_another() -> None:
    modules = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    found = re.compile(r"(?m)^\s*(?:from|import) (test_\w+)")
    for path in (ROOT / "tests").rglob("*.py"):
        assert not modules & set(found.findall(path.read_text(encoding="utf-8"))), path


def test_nothing_is_put_on_the_path_by_hand() -> None:
    put = "sys.path" + ".insert"
    everything = [*SOURCES, *(ROOT / "tests").rglob("*.py")]
    assert [path.name for path in everything if put in path.read_text(encoding="utf-8")] == []


FORBIDDEN = [
    ("reconfig/trace/leaves.py", "import reconfig.planning.plan\n"),
    ("reconfig/rule.py", "def f():\n    import reconfig.harness.files\n"),
    (
        "reconfig/harness/data/images.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import reconfig.harness.jobs.job\n",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("file", "line"), FORBIDDEN, ids=["upwards", "inside a function", "for types only"])
def test_a_forbidden_import_breaks_a_contract(file: str, line: str, tmp_path: Path) -> None:
    for name in ("reconfig", "recipes", "benchmarks", "pyproject.toml"):
        copied = ["cp", "-r", str(ROOT / name), str(tmp_path)]
        subprocess.run(copied, check=True)
    command = [Path(sys.executable).parent / "lint-imports", "--no-logo", "--no-cache"]
    kept = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert kept.returncode == 0, kept.stdout
    (tmp_path / file).write_text((tmp_path / file).read_text() + line)
    broken = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert broken.returncode == 1
    assert "BROKEN" in broken.stdout


@pytest.mark.slow
def test_an_oracle_of_every_install_must_not_be_missing_in_ci(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_one.py").write_text("import pytest\npytest.importorskip('no_such_oracle')\n")
    (tmp_path / "test_two.py").write_text(
        "import pytest\npytest.importorskip('wandb_is_not', reason=\"could not import 'wandb'\")\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]

    def run(name: str, **extra: str) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if key != "CI"} | extra
        return subprocess.run([*command, name], cwd=tmp_path, env=environment, capture_output=True, text=True)

    nothing_ran = 5
    assert run("test_one.py").returncode == nothing_ran
    failed = run("test_one.py", CI="true")
    assert failed.returncode == 1
    assert "error: no_such_oracle could not be imported: pip install -e '.[all]'" in failed.stdout
    assert run("test_two.py", CI="true").returncode == nothing_ran
