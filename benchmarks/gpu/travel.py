"""What must survive a machine that keeps nothing: all that is small in one archive, and weights in parts beside it.

The folder that comes back may hold few files, none of them large, so what does not fit is left for the next time:
verdicts, metrics and tables always come, then the weights of finished networks, in the order of the items.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.gpu import weights
from benchmarks.gpu.ledger import Item
from reconfig import ReconfigError
from reconfig.harness import files

SMALL = "small.tar.gz"
"""The archive of all that is small."""
FILES = 8
"""Files that may come back at a time."""
TOTAL = 62 * 2**20
"""Bytes that they may have together."""
_LEFT = {".pt", files.UNFINISHED}
"""Endings of what does not travel as it is."""


class TravelError(ReconfigError):
    """Evidence that cannot be sent or taken in."""


def send(items: Sequence[Item], folder: Path, to: Path) -> list[str]:
    """Write what must survive of ``folder`` into the empty folder ``to``; what to tell the user.

    Which weights have been sent is noted in ``folder``, so that the next time others come.

    Raises:
        TravelError: If ``to`` holds something, or what is small is not.
    """
    if to.exists() and any(to.iterdir()):
        raise TravelError(f"{to} is not empty; give another --send")
    to.mkdir(parents=True, exist_ok=True)
    archive = to / SMALL
    with tarfile.open(archive, "w:gz") as tar:
        for path in _small(folder):
            tar.add(path, path.relative_to(folder).as_posix())
    size = archive.stat().st_size
    if size > weights.LIMIT:
        raise TravelError(f"{archive} has {size:,} bytes, more than {weights.LIMIT:,}")
    lines, sent = [f"{archive}: {size / 2**20:.1f} MiB"], _sent(folder)
    room, left = TOTAL - size, FILES - 1
    for checkpoint in _finished(items, folder):
        name = checkpoint.relative_to(folder).with_suffix("").as_posix()
        if name in sent:
            continue
        with TemporaryDirectory(dir=to.parent) as aside:
            parts = weights.split(checkpoint, name, Path(aside))
            size = sum(part.stat().st_size for part in parts)
            if len(parts) > left or size > room:
                lines.append(f"weights of {name}: next time, they do not fit")
                continue
            for part in parts:
                shutil.move(part, to / part.name)
        left, room = left - len(parts), room - size
        sent.append(name)
        lines.append(f"weights of {name}: {len(parts)} parts")
    files.write_json(folder / "sent.json", {"weights": sent})
    return lines


def take_in(came: Path, folder: Path) -> list[str]:
    """Put what ``send`` wrote, in one or several folders below ``came``, into ``folder``; what to tell the user.

    Of a file that is there already, or came twice, the newest stays. Weights of which all parts are there become the
    checkpoint that they were, without its optimiser's state; of the others it says what is missing.

    Raises:
        TravelError: If nothing came.
    """
    archives, parts = sorted(came.rglob(SMALL)), weights.find(came)
    if not archives and not parts:
        raise TravelError(f"{came} holds neither {SMALL} nor parts of weights")
    lines = []
    folder.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        with tarfile.open(archive, "r:gz") as tar:
            newer = [member for member in tar if _is_newer(member, folder / member.name)]
            tar.extractall(folder, newer, filter="data")
        lines.append(f"{archive}: {len(newer)} files")
    for of_one in parts.values():
        try:
            name, checkpoint = weights.join(of_one)
        except weights.PartsError as error:
            lines.append(str(error))
            continue
        target = folder / f"{name}.pt"
        if not target.exists():  # else this machine still has it, with the optimiser's state
            target.parent.mkdir(parents=True, exist_ok=True)
            files.save_checkpoint(target, checkpoint)
            lines.append(f"{target}: of {len(of_one)} parts")
        files.write_json(folder / "sent.json", {"weights": sorted({*_sent(folder), name})})
    return lines


def _is_newer(member: tarfile.TarInfo, path: Path) -> bool:
    return member.isfile() and (not path.exists() or member.mtime > path.stat().st_mtime)


def _sent(folder: Path) -> list[str]:
    path = folder / "sent.json"
    return json.loads(path.read_text(encoding="utf-8"))["weights"] if path.exists() else []


def _finished(items: Sequence[Item], folder: Path) -> Iterator[Path]:
    """The best checkpoints of networks that are trained and measured."""
    for item in items:
        for outcome in sorted((folder / item.name / "out").rglob("outcome.json")):
            best = outcome.with_name("best.pt")
            if best.exists():
                yield best


def _small(folder: Path) -> Iterator[Path]:
    """All but weights. Of a network that is not finished its metrics alone: it will be trained anew, to other weights,
    and verdicts on these would be in the way.
    """
    under_way = {path.parent for path in folder.rglob("last.pt") if not path.with_name("outcome.json").exists()}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix in _LEFT or path.name in ("lock", "sent.json") or "logs" in path.parts:
            continue
        if path.name == "metrics.jsonl" or under_way.isdisjoint(path.parents):
            yield path
