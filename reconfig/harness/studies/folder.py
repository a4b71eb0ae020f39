"""The output folder of a run or sweep, and whether it may begin or go on in it.

It holds:
    config.json              the experiment, and the fingerprint of its images
    original/, variant/      a network each, see ``jobs.job.complete``; with several seeds in seed-0/, seed-1/, ...
    result.json, table.md, table.tex, report.html      the comparison
    logs/                    what the tracker writes
A sweep's folder has a folder for each configuration, and results.csv and figure.svg as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reconfig import ReconfigError
from reconfig.harness import files, records
from reconfig.harness.experiment import Network, Setting


class FolderError(ReconfigError):
    """An output folder that holds something else than the run that wants it."""


def check(out: Path, resume: bool) -> None:
    """See that a run may write into ``out``.

    Raises:
        FolderError: If it is a file, holds something and ``resume`` is false, or holds something that no
            run left.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise FolderError(f"{out} is a file; give the name of a folder with --out")
    held = sorted(path.name for path in out.iterdir() if path.suffix != files.UNFINISHED)
    if held and not resume:
        some = ", ".join([*held[:4], *(["..."] if len(held) > 4 else [])])
        raise FolderError(
            f"{out} already holds {some}; nothing was changed."
            f" Add --resume to go on with that run, or give another folder with --out"
        )
    if held and "config.json" not in held:
        raise FolderError(f"{out} holds {held[0]} but no config.json, so no run of this program; give another --out")


def config(wanted: Setting, fingerprint: str, networks: Mapping[str, Network] | None = None) -> dict[str, Any]:
    """What config.json holds: all that decides the result; ``networks`` are those of a sweep, by their folders."""
    fields = records.plain(wanted) | {"images": fingerprint}
    fields.pop("paper", None)
    return fields | {name: records.plain(network) for name, network in (networks or {}).items()}


def check_config(out: Path, wanted: dict[str, Any]) -> None:
    """See that a run begun in ``out`` is the one wanted; its data may lie elsewhere by now.

    Raises:
        FolderError: If a field differs; the message names every one.
        CheckpointError: If config.json is damaged.
    """
    path = out / "config.json"
    if not path.exists():
        return
    began = files.read_json(path, "Put back a copy, or give another --out")
    changed = [
        f"{name} was {was} and is now {now}"
        for name, was, now in records.differences(began, wanted)
        if name != "data.path"
    ]
    if changed:
        raise FolderError(
            f"cannot resume in {out}: {'; '.join(changed)}."
            f" Give the command that the run was begun with, or another --out"
        )


def prepare(out: Path, wanted: dict[str, Any], folders: Iterable[Path]) -> None:
    """Make the folder, with config.json first, and ``folders`` in it."""
    out.mkdir(parents=True, exist_ok=True)
    files.remove_unfinished(out)
    if not (out / "config.json").exists():
        files.write_json(out / "config.json", wanted)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
