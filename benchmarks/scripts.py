"""Scripts of every kind under ``reconfig run``, beside the same run by Python alone.

For each script of tests/scripts/clients: how its network was found, its parameters before and after, the loss of its
first step; and the seconds that ``reconfig run`` adds, in processor time, since other work on the machine does not
count there. Writes scripts.md.

    python benchmarks/scripts.py
    python benchmarks/scripts.py --only imported.py --times 9
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import tyro

import reconfig.cli.dispatch
import reconfig.planning.make
from reconfig.scripts.program import Program

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = ROOT / "tests" / "scripts" / "clients"
KINDS = {  # what is run: what it is
    "imported.py": "a class imported from a package",
    "own_class.py": "a class of the script, `super(Net, self)`",
    "factory.py": "a function, by its name",
    "by_timm.py": "`timm.create_model`",
    "by_torchvision.py": "torchvision's `resnet18`, stem and head replaced",
    "by_hub.py": "`torch.hub.load`",
    "wrapped.py": "in `DataParallel` at once",
    "attacked.py": "inside of its attack, in `DataParallel`",
    "averaged.py": "deep copies before and after, `AveragedModel`",
    "lazy.py": "lazy layers",
    "meta.py": "made on the meta device",
    "compiled.py": "compiled",
    "workers.py": "spawned loader workers",
    "folds.py": "made in parts, once a fold",
    "trainer": "a module, `-m trainer`",
}
TIMED = "imported.py"


@dataclass(frozen=True)
class Options:
    """Which scripts, and how often."""

    only: tuple[str, ...] = tuple(KINDS)
    """Names of scripts."""
    times: int = 5
    """How often the time of one is taken."""
    out: Path = ROOT / "benchmarks" / "results"
    """Folder for the table."""


def first(pattern: str, said: str) -> str:
    """The first match in what a script said."""
    found = re.search(pattern, said)
    return found[1] if found else "-"


def main(options: Options) -> int:
    """Write the table."""
    lines = [
        "# Scripts under `reconfig run`",
        "",
        f'By `python benchmarks/scripts.py`, rule "10-10-4"; the loss is that of the first step, '
        f"Python {sys.version.split()[0]}, CPU.",
        "",
        "| script | found | parameters by Python alone | under reconfig | loss alone | under reconfig |",
        "|---|---|---|---|---|---|",
    ]
    for script in options.only:
        bare, ours = _said(script, lambda words: Program.read(words).execute()), _said(script, _under_reconfig)
        how = first(r"; found ((?:when|by) [^\n]*)", ours).replace("tests/scripts/clients/", "")
        counts = (first(r"(\d+) parameters", said) for said in (bare, ours))
        losses = (first(r"loss ([\d.]+)", said) for said in (bare, ours))
        name = f"`{script}`: {KINDS.get(script, '')}"
        cells = [name, how, *(f"{int(count):,}" if count.isdigit() else count for count in counts), *losses]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    lines += ["", _times(options.times)]
    print(lines[-1])
    (options.out / "scripts.md").write_text("\n".join(lines) + "\n")
    return 0


def _under_reconfig(words: list[str]) -> None:
    sys.argv[:] = ["reconfig", "run", *words]
    sys.exit(reconfig.cli.main())


def _said(script: str, run: Callable[[list[str]], None]) -> str:
    """What a script says in a process of its own; it is forked from this one, which has torch already."""
    words = [str(CLIENTS / script)] if script.endswith(".py") else ["-m", script]
    with tempfile.TemporaryFile("w+") as file:
        process = os.fork()
        if process == 0:
            for descriptor in (1, 2):
                os.dup2(file.fileno(), descriptor)
            sys.path[0:0] = ["", str(CLIENTS)]  # the first gives way to the script's own
            run(words)
            sys.exit()
        _, status = os.waitpid(process, 0)
        file.seek(0)
        if os.waitstatus_to_exitcode(status):
            raise RuntimeError(f"{script} failed: {file.read()}")
        return file.read()


def _times(times: int) -> str:
    pairs = [(_seconds([]), _seconds(["-m", "reconfig", "run"])) for _ in range(times)]
    bare, ours = (median(side) for side in zip(*pairs, strict=True))
    added = median(one - other for other, one in pairs)
    return (
        f"`{TIMED}` takes {bare:.2f} s of processor time by Python alone and {ours:.2f} s under `reconfig run`, the "
        f"plan and the rewriting included: {added:.2f} s more (medians of {times} runs of both in turn)."
    )


def _seconds(way: list[str]) -> float:
    """Processor seconds of the timed script, from the start of Python to its end."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    silent = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0o600) for number in (1, 2)]
    command = [sys.executable, *way, str(CLIENTS / TIMED)]
    process = os.posix_spawn(sys.executable, command, environment, file_actions=silent)
    _, status, used = os.wait4(process, 0)
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"{' '.join(command)} failed")
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
