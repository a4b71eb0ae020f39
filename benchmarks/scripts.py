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
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import tyro

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
    "-m trainer": "a module, `-m trainer`",
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


@dataclass(frozen=True)
class Ran:
    """What a script said, and the processor seconds that it took."""

    out: str
    err: str
    seconds: float

    def first(self, pattern: str) -> str:
        """The first match in all that it said."""
        found = re.search(pattern, self.out + self.err)
        return found[1] if found else "-"


def main(options: Options) -> int:
    """Write the table."""
    lines = [
        "# Scripts under `reconfig run`",
        "",
        f'By `python benchmarks/scripts.py`, rule "10-10-4"; the loss is that of the first step, '
        f"{sys.version.split()[0]}, CPU.",
        "",
        "| script | found | parameters by Python alone | under reconfig | loss alone | under reconfig |",
        "|---|---|---|---|---|---|",
    ]
    for script in options.only:
        bare, ours = _run([], script), _run(["-m", "reconfig", "run"], script)
        how = ours.first(r"; found ((?:when|by) [^\n]*)").replace(f"{CLIENTS}/", "")
        counts = (ran.first(r"(\d+) parameters") for ran in (bare, ours))
        losses = (ran.first(r"loss ([\d.]+)") for ran in (bare, ours))
        name = f"`{script}`: {KINDS.get(script, '')}"
        cells = [name, how, *(f"{int(count):,}" if count.isdigit() else count for count in counts), *losses]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    lines += ["", _times(options.times)]
    print(lines[-1])
    (options.out / "scripts.md").write_text("\n".join(lines) + "\n")
    return 0


def _times(times: int) -> str:
    pairs = [(_run([], TIMED).seconds, _run(["-m", "reconfig", "run"], TIMED).seconds) for _ in range(times)]
    bare, ours = (median(side) for side in zip(*pairs, strict=True))
    added = median(one - other for other, one in pairs)
    return (
        f"`{TIMED}` takes {bare:.2f} s of processor time by Python alone and {ours:.2f} s under `reconfig run`, the "
        f"plan and the rewriting included: {added:.2f} s more (medians of {times} runs of both in turn)."
    )


def _run(way: list[str], script: str) -> Ran:
    words = script.split() if script.startswith("-m") else [str(CLIENTS / script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{CLIENTS}"}
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        streams = [
            (os.POSIX_SPAWN_OPEN, number, str(path), os.O_WRONLY | os.O_CREAT, 0o600)
            for number, path in ((1, out), (2, err))
        ]
        command = [sys.executable, *way, *words]
        process = os.posix_spawn(sys.executable, command, environment, file_actions=streams)
        _, status, used = os.wait4(process, 0)
        if os.waitstatus_to_exitcode(status):
            raise RuntimeError(f"{' '.join(command)} failed: {err.read_text()}")
        return Ran(out.read_text(), err.read_text(), used.ru_utime + used.ru_stime)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
