"""Pack what travels to a machine that has a GPU and no network, into one folder that git ignores.

The folder holds the checkout (what is committed), CIFAR's parquet files, the packages that the machine lacks,
evidence that was gathered before, and ``setup.sh``, which sets all of it up there without a network.

    python -m benchmarks.gpu.pack --data PATH --out .travel
    python -m benchmarks.gpu.pack --data PATH --out .travel --evidence FOLDER --extras ray

There: ``sh .travel/setup.sh /root/work`` and then what it prints.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from tempfile import TemporaryDirectory

import tyro
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from reconfig import ReconfigError
from reconfig.harness import command

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 61 * 2**20
"""Bytes that may travel: 64 MiB with room for what git tracks, which may travel beside it."""
IMAGE = Path(__file__).with_name("image.txt")
TESTS = ("pytest", "pytest-timeout")
"""What the tests that need a GPU need."""
LEFT_OUT = (
    "pyautoattack/examples",  # the weights of a network, 40 MB
    *(f"ray/{part}" for part in ("jars", "dashboard/client", "rllib", "serve", "llm", "data")),
)
"""Parts of packages that nothing here uses, and that are too large to carry."""


class PackError(ReconfigError):
    """Something that cannot be packed."""


@dataclass(frozen=True)
class Pack:
    """What to pack."""

    data: Path
    """The folder with CIFAR's parquet files."""
    out: Path = Path(".travel")
    """The folder to write; an older one is replaced."""
    evidence: Path | None = None
    """What came back from there before (evidence.py --send); it is taken along as far as it fits, archives first."""
    extras: tuple[str, ...] = ()
    """Packages to take along beside what is needed, such as ray."""
    python: str = "3.12"
    """The version of Python there."""
    image: Path = IMAGE
    """The packages that are there already, one a line."""


def pack(wanted: Pack) -> list[str]:
    """Write the folder; what to tell the user.

    Raises:
        PackError: If something is missing or it becomes too large; the folder is removed then.
    """
    shutil.rmtree(wanted.out, ignore_errors=True)
    wanted.out.mkdir(parents=True)
    try:
        lines = [*_checkout(wanted.out), *_images(wanted.data, wanted.out / "data"), *packages(wanted)]
        shutil.copyfile(Path(__file__).with_name("setup.sh"), wanted.out / "setup.sh")
        room = LIMIT - _bytes(wanted.out)
        if room < 0:
            sizes = ", ".join(f"{path.name} {_bytes(path) / 2**20:.1f}" for path in sorted(wanted.out.iterdir()))
            raise PackError(f"this is more than {LIMIT / 2**20:.0f} MiB: {sizes} MiB; leave --extras out")
        if wanted.evidence is not None:
            lines += _evidence(wanted.evidence, wanted.out / "evidence", room)
    except BaseException:
        shutil.rmtree(wanted.out)
        raise
    return [*lines, f"{wanted.out}: {_bytes(wanted.out) / 2**20:.1f} MiB"]


def _checkout(out: Path) -> list[str]:
    _run("git", "archive", "--format=tar.gz", "-o", str((out / "checkout.tar.gz").absolute()), "HEAD")
    changed = _run("git", "status", "--porcelain").splitlines()
    commit = _run("git", "rev-parse", "--short", "HEAD").strip()
    return [f"checkout: {commit}" + (f", without {len(changed)} changes that are not committed" if changed else "")]


def _images(data: Path, out: Path) -> list[str]:
    found = sorted(data.glob("*.parquet"))
    if not found:
        raise PackError(f"{data} holds no parquet files; give the folder of CIFAR-10 in the hub's layout with --data")
    out.mkdir()
    for path in found:
        shutil.copyfile(path, out / path.name)
    return [f"images: {', '.join(path.name for path in found)}"]


def _evidence(came: Path, out: Path, room: int) -> list[str]:
    """Archives first, then weights, as far as they fit."""
    out.mkdir()
    lines = []
    for path in sorted((path for path in came.rglob("*") if path.is_file()), key=lambda path: path.suffix != ".gz"):
        size = path.stat().st_size
        if size > room:
            lines.append(f"left here: {path}, {size / 2**20:.1f} MiB")
            continue
        room -= size
        target = out / path.relative_to(came)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return lines


# ---------------------------------------------------------------- packages


def packages(wanted: Pack) -> list[str]:
    """Write an archive of what the image lacks, in the versions that are installed here."""
    lines = wanted.image.read_text(encoding="utf-8").splitlines()
    there: set[str] = {canonicalize_name(line.strip()) for line in lines if line.strip() and not line.startswith("#")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["bench"], *TESTS, *wanted.extras]
    names = sorted(missing(needed, there, wanted.python))
    with TemporaryDirectory() as aside:
        site = Path(aside) / "site"
        install([f"{name}=={distribution(name).version}" for name in names], site, wanted.python)
        for part in LEFT_OUT:
            shutil.rmtree(site / part, ignore_errors=True)
        with tarfile.open(wanted.out / "site.tar.gz", "w:gz") as tar:
            tar.add(site, "site")
    return [f"packages: {', '.join(names)}"]


def missing(wanted: Iterable[str], there: set[str], python: str) -> set[str]:
    """Everything that ``wanted`` needs with that Python, in any number of steps, and that is not ``there``.

    Raises:
        PackError: If one of them is not installed here, so that nothing says what it needs.
    """
    found: set[str] = set()
    waiting, seen = [Requirement(text) for text in wanted], set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, *requirement.extras) in seen or (name in there and not requirement.extras):
            continue
        seen.add((name, *requirement.extras))
        if name not in there:
            found.add(name)
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            raise PackError(f"{name} is not installed here; install it, so that it is known what it needs") from None
        waiting += _that_apply(needs, requirement.extras, python)
    return found


def _that_apply(needs: Iterable[str], extras: Iterable[str], python: str) -> Iterator[Requirement]:
    there = {"python_version": python, "python_full_version": f"{python}.0"}
    for text in needs:
        marker = (requirement := Requirement(text)).marker
        if marker is None or any(marker.evaluate(there | {"extra": extra}) for extra in ("", *extras)):
            yield requirement


def install(pinned: Sequence[str], site: Path, python: str) -> None:
    """Install ``pinned`` into ``site`` for Linux and that version of Python.

    Raises:
        PackError: If one has no wheel for it, and none can be built that runs anywhere.
    """
    tags = [f"--platform=manylinux_2_{minor}_x86_64" for minor in (28, 27, 17)] + ["--platform=manylinux2014_x86_64"]
    of_target = ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}", *tags]
    with TemporaryDirectory() as aside:
        for each in pinned:
            try:
                _pip("download", "--no-deps", *of_target, "-d", aside, each)
            except PackError:  # it has a source alone
                _pip("wheel", "--no-deps", "-w", aside, each)
        wheels = sorted(Path(aside).iterdir())
        bound = [path.name for path in wheels if not path.name.endswith(("-any.whl", "x86_64.whl"))]
        if bound:
            raise PackError(f"built for this machine alone: {', '.join(bound)}")
        options = ["--no-deps", "--no-index", "--no-compile", *of_target, "--target", str(site)]
        _pip("install", *options, *map(str, wheels))


def _pip(*words: str) -> None:
    _run(sys.executable, "-m", "pip", words[0], "-q", "--disable-pip-version-check", *words[1:])


def _run(*words: str) -> str:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        said = re.sub(r"\s+", " ", done.stderr.strip())[-300:]
        raise PackError(f"{' '.join(words[:4])} ...: {said}")
    return done.stdout


def _bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


def main(wanted: Pack) -> int:
    """Pack, and say what; the exit code."""
    return command.finish(lambda: print("\n".join(pack(wanted))))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Pack, description=__doc__)))
