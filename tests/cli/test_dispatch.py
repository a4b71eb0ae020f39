"""Exit codes, and what is said of arguments that are not understood."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from reconfig.cli import dispatch as dispatching, main
from reconfig.cli.commands import COMMANDS
from reconfig.cli.raw import Raw
from reconfig.errors import ModelError
from reconfig.version import VERSION


@dataclass(frozen=True)
class Echo(Raw):
    """Say what it was given."""

    loud: bool = False

    def __call__(self) -> None:
        print(self.rest, self.loud)


@dataclass(frozen=True)
class Stopped:
    """Be stopped."""

    def __call__(self) -> None:
        raise KeyboardInterrupt


@dataclass(frozen=True)
class Failing:
    """Fail."""

    def __call__(self) -> int:
        raise ModelError("there is nothing to see")


@dataclass(frozen=True)
class Ending:
    """End as a script does."""

    code: str = ""

    def __call__(self) -> None:
        sys.exit(int(self.code) if self.code.isdecimal() else self.code or None)


@dataclass(frozen=True)
class Three:
    """Return 3."""

    def __call__(self) -> int:
        return 3


@pytest.fixture
def _more(monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"echo": Echo, "stopped": Stopped, "failing": Failing, "three": Three, "ending": Ending}
    monkeypatch.setattr(dispatching, "COMMANDS", {**COMMANDS, **more})


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"• {name} +[A-Z]", text) for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: reconfig {name} ")
    if not issubclass(COMMANDS[name], Raw):  # type: ignore[arg-type]
        assert "--json" in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{VERSION}\n"


COMPLETE = """
source "$1"
function=$(complete -p reconfig | sed 's/.*-F \\([^ ]*\\).*/\\1/')
shift
COMP_WORDS=(reconfig "$@"); COMP_CWORD=$#
$function
echo "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["pl"], ["plan"]),
        (["plan", "zoo:vgg11", "10-10-4", "--w"], ["--weights"]),
        (["plan", "zoo:vgg11", "10-10-4", "--weights", ""], ["fresh", "inherit"]),
    ],
)
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_completion(words: list[str], completed: list[str], tmp_path: Path) -> None:
    script = tmp_path / "completion"
    assert main(["--tyro-write-completion", "bash", str(script)]) == 0
    told = subprocess.run(["bash", "-c", COMPLETE, "bash", script, *words], capture_output=True, text=True, check=True)
    assert told.stdout.split() == completed


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("stags zoo:vgg11", "error: reconfig has no command 'stags': did you mean `reconfig stages`?"),
        ("zzzzzz", f"error: reconfig has no command 'zzzzzz': there are {', '.join(COMMANDS)}"),
        ("", "Expected one of {stages, "),
        ("stages", "Missing from reconfig stages:"),
        ("plan zoo:vgg11", "Missing from reconfig plan:"),
        ("apply zoo:vgg11 10-10-4", "-o FILE.safetensors, --out FILE.safetensors"),
        ("stages zoo:vgg11 --jsn", "--json"),
        ("plan zoo:vgg11 10-10-4 --gama 2", "--gamma FLOAT"),
        ("plan zoo:vgg11 10-10-4 --gamma wide", "Error parsing --gamma: could not convert string to float: 'wide'"),
        ("plan zoo:vgg11 10-10-4 --weights inhert", "inherit"),
        ("stages zoo:vgg11 zoo:vgg13", "Unrecognized options: zoo:vgg13"),
    ],
)
def test_bad_usage_is_explained_and_ends_in_2(argv: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err


@pytest.mark.usefixtures("_more")
def test_what_a_command_returns_or_raises_is_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["three"]) == 3
    assert main(["ending"]) == 0
    assert main(["ending", "--code", "7"]) == 7
    assert main(["ending", "--code", "no data"]) == 1
    assert capsys.readouterr().err == "no data\n"
    assert main(["stopped"]) == 130
    assert capsys.readouterr().err == "\nstopped\n"
    assert main(["failing"]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "error: there is nothing to see\n")


@pytest.mark.usefixtures("_more")
def test_the_rest_of_a_raw_command_reaches_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["echo", "--loud", "train.py", "--loud", "--help"]) == 0
    assert capsys.readouterr().out == "('train.py', '--loud', '--help') True\n"
    assert main(["echo", "--help"]) == 0
    assert "usage: reconfig echo [-h] SCRIPT [ARGUMENTS] [--loud]" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["tyro", "rich"])
def test_without_the_extra(missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in [name for name in sys.modules if name.startswith("reconfig.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    if missing == "rich":  # tyro is quicker without it, and imports it in some of its versions alone
        monkeypatch.setitem(sys.modules, "tyro", None)
    assert main(["rules"]) == 1
    assert "pip install 'robust-reconfig[cli]'" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["rules", "--tyro-print-completion bash"])
def test_into_a_pipe_that_closes(line: str) -> None:
    command = f"{sys.executable} -m reconfig {line} | head -0; exit ${{PIPESTATUS[0]}}"
    told = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert told.stderr == b""
    assert told.returncode in (0, 1)  # 0 where it was quicker than the reader


def test_a_console_that_lacks_a_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    console = TextIOWrapper(BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", console)
    assert main(["draw", "zoo:vgg11", "10-10-4"]) == 0
    text = console.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert "???" in text
    assert "205 channels" in text
