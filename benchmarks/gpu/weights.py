"""Weights of a checkpoint in parts small enough to be carried, and put together again, exactly.

The parts are those of one safetensors file, NAME.DIGEST.01-of-03 and so on: one after another they are that file, and
DIGEST is the beginning of its SHA-256. Its metadata say of which checkpoint it is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from reconfig import ReconfigError
from reconfig.harness import files

LIMIT = 15 * 2**20
"""Bytes of a part, at most."""
_PART = re.compile(r"(?P<whole>.+\.(?P<digest>[0-9a-f]{16}))\.(?P<number>\d+)-of-(?P<count>\d+)")


class PartsError(ReconfigError):
    """Parts of a checkpoint that do not make a whole."""


def split(checkpoint: Path, name: str, folder: Path, limit: int = LIMIT) -> list[Path]:
    """Write the weights of ``checkpoint``, without the optimiser's state, into ``folder``, as parts of ``limit`` bytes.

    ``name`` says of which checkpoint they are, and how the files are called: what is no letter or digit becomes a dot.

    Raises:
        CheckpointError: If the checkpoint cannot be read.
    """
    held = files.load_checkpoint(checkpoint)
    weights = {key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in held["model"].items()}
    content = save(weights, {"checkpoint": name, "state": json.dumps(held["state"])})
    whole = f"{re.sub('[^A-Za-z0-9_-]', '.', name)}.{_digest(content)}"
    pieces = [content[first : first + limit] for first in range(0, len(content), limit)]
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{whole}.{number:02}-of-{len(pieces):02}" for number in range(1, len(pieces) + 1)]
    for path, piece in zip(paths, pieces, strict=True):
        path.write_bytes(piece)
    return paths


def find(folder: Path) -> dict[str, dict[int, Path]]:
    """The parts in ``folder`` and below: whose, number -> path."""
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.rglob("*-of-*")):
        if part := _PART.fullmatch(path.name):
            found.setdefault(part["whole"], {})[int(part["number"])] = path
    return found


def join(parts: Mapping[int, Path]) -> tuple[str, dict[str, Any]]:
    """The name of the checkpoint that the parts are of, and what it holds: model and state.

    Raises:
        PartsError: If one is missing or damaged.
    """
    part = _PART.fullmatch(next(iter(parts.values())).name)
    assert part is not None  # ``find`` takes no others
    count = int(part["count"])
    missing = sorted(set(range(1, count + 1)) - set(parts))
    if missing:
        raise PartsError(f"{part['whole']} has {count} parts, of which are missing: {', '.join(map(str, missing))}")
    content = b"".join(path.read_bytes() for _, path in sorted(parts.items()))
    if _digest(content) != part["digest"]:
        raise PartsError(f"the parts of {part['whole']} do not make what was split: bring them again")
    # safetensors gives metadata of files alone; the format begins with the length of its header, which is JSON.
    about = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    return about["checkpoint"], {"model": load(content), "state": json.loads(about["state"])}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
