"""A script is what it is when Python runs it: its arguments, its place, its traceback, its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from functools import partial
from pathlib import Path

import pytest
from runner import CLIENTS, Runner

from reconfig.errors import ScriptError
from reconfig.scripts.imports import when_imported
from reconfig.scripts.program import Program


def test_arguments_places_and_exit_code(runner: Runner) -> None:
    (runner.folder / "seed.txt").write_text("0")
    ran = runner.run("reads.py", "--rule", "mine", "--", "-m", "x")
    assert ran.code == 5, ran.err
    assert "arguments ['--rule', 'mine', '--', '-m', 'x']" in ran.out
    assert ran.parameters == 34_462


def test_what_is_in_main(runner: Runner) -> None:
    show = "import sys\nprint(sorted(globals()), __file__, __name__, __spec__, sys.argv, sys.path[0])\nsys.exit(3)\n"
    (runner.folder / "folder").mkdir()
    script = runner.folder / "folder" / "show.py"
    script.write_text(show)
    bare = subprocess.run([sys.executable, "folder/show.py", "x"], cwd=runner.folder, capture_output=True, text=True)
    ran = runner.run("folder/show.py", "x")
    assert (ran.code, ran.out) == (3, bare.stdout)
    assert bare.returncode == 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["module", "package", "folder", "archive"])
def test_modules_folders_and_archives(runner: Runner, kind: str) -> None:
    show = (
        "import sys, beside\nprint(__file__, __name__, __package__, __spec__.name, sys.argv, sys.path[0])\n"
        "sys.exit(3)\n"
    )
    package = runner.folder / "package"
    package.mkdir()
    files = {"__init__.py": "", "__main__.py": show, "part.py": show.replace(", beside", "")}
    for name, text in files.items():
        (package / name).write_text(text)
    (package / "beside.py").write_text("")
    (runner.folder / "beside.py").write_text("")
    with zipfile.ZipFile(runner.folder / "archive.pyz", "w") as archive:
        archive.writestr("__main__.py", show)
        archive.writestr("beside.py", "")
    words = {
        "module": ("-m", "package.part", "-m"),
        "package": ("-m", "package"),
        "folder": ("package", "x"),
        "archive": ("archive.pyz", "--help"),
    }[kind]
    bare = subprocess.run([sys.executable, *words], cwd=runner.folder, capture_output=True, text=True)
    ran = runner.run(*words)
    assert bare.returncode == 3, bare.stderr
    assert (ran.code, ran.out) == (3, bare.stdout), ran.err


@pytest.mark.slow
def test_a_module_finds_its_network(runner: Runner) -> None:
    command = [sys.executable, "-m", "trainer", "a", "--b"]
    bare = subprocess.run(command, cwd=CLIENTS, capture_output=True, text=True)
    assert "78010 parameters" in bare.stdout, bare.stderr
    ran = runner.run("-m", "trainer", "a", "--b", folder=CLIENTS)
    assert (ran.code, ran.parameters) == (0, 34_462), ran.err
    assert ran.out.splitlines()[1] == bare.stdout.splitlines()[1] == "arguments ['a', '--b'] of trainer.__main__"


TRACEBACKS = {
    "raised": "def f():\n    raise KeyError('x')\ntry:\n    f()\n"
    "except KeyError as error:\n    raise ValueError('y') from error\n",
    "syntax": "x = (\n",
    "hook": "import sys\nsys.excepthook = lambda kind, error, trace: print(kind, error, trace.tb_lineno)\n1 / 0\n",
    "group": "raise ExceptionGroup('many', [ValueError(1), TypeError(2)])\n",
}


@pytest.mark.parametrize("name", TRACEBACKS)
def test_tracebacks_are_those_of_python(runner: Runner, name: str) -> None:
    script = runner.folder / "fails.py"
    script.write_text(TRACEBACKS[name])
    bare = subprocess.run([sys.executable, "fails.py"], cwd=runner.folder, capture_output=True, text=True)
    ran = runner.run("fails.py")
    assert (ran.code, ran.out, ran.err) == (bare.returncode, bare.stdout, bare.stderr)
    assert ran.code == 1


def test_our_frames_are_not_in_a_traceback(runner: Runner) -> None:
    (runner.folder / "fails.py").write_text(
        "from torch import nn\nnet = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3))\n"
        "net.to('nowhere')\n"
    )
    ran = runner.run("fails.py")
    assert ran.code == 1
    assert "in <module>\n    net.to('nowhere')" in ran.err
    assert "reconfig/scripts" not in ran.err


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_interrupts_end_it_as_they_end_python(tmp_path: Path) -> None:
    script = tmp_path / "waits.py"
    script.write_text(
        "import atexit, time\natexit.register(print, 'at exit')\nprint('started', flush=True)\ntime.sleep(60)\n"
    )
    ends = []
    for words in ([], ["-m", "reconfig", "run"]):
        command = [sys.executable, *words, str(script)]
        # A shell that runs the tests in the background has its children ignore interrupts.
        heeded = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=heeded) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            time.sleep(0.5)  # until it waits
            process.send_signal(signal.SIGINT)
            ends.append((*process.communicate(), process.returncode))
    assert ends[0] == ends[1]
    assert ends[0][0] == "at exit\n"
    assert ends[0][2] == -signal.SIGINT


def test_programs_are_read_from_a_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").touch()
    assert Program.read(["train.py", "-m", "x"]) == Program("train.py", ("-m", "x"))
    assert Program.read(["-m", "a.b", "--c"]).words == ("-m", "a.b", "--c")
    assert str(Program.read(["-m", "a.b", "--c"])) == "-m a.b"
    with pytest.raises(ScriptError, match=r"there is no script folder/other\.py: .* reconfig run -m folder\.other"):
        Program.read(["folder/other.py"])


def test_a_module_is_watched_until_it_has_been_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "watched_module.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    seen: list[int] = []
    before = list(sys.meta_path)
    when_imported("watched_module", lambda: seen.append(sys.modules["watched_module"].VALUE))
    import importlib.util

    assert importlib.util.find_spec("watched_module") is not None  # looked for, not imported
    assert seen == []
    module = importlib.import_module("watched_module")
    assert seen == [1]
    assert sys.meta_path == before
    assert "exec_module" not in vars(module.__loader__)
    assert type(module.__loader__).__name__ == "SourceFileLoader"
    when_imported("watched_module", lambda: seen.append(2))
    assert seen == [1, 2]
    del sys.modules["watched_module"]
