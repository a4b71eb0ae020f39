"""Files that are either whole or not there, and checkpoints that are either sound or refused."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from reconfig import ReconfigError

UNFINISHED = ".unfinished"


class CheckpointError(ReconfigError):
    """A checkpoint that cannot be read."""


class DataError(ReconfigError):
    """Image data that is missing, damaged or of the wrong shape."""


def reason(error: Exception) -> str:
    """What an error of a library says, on one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


def write(path: Path, fill: Callable[[Path], object]) -> None:
    """Let ``fill`` write a file, then make it ``path`` at once: a kill leaves the old one or the new."""
    unfinished = path.with_name(path.name + UNFINISHED)
    fill(unfinished)
    with open(unfinished, "rb") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def digest(path: Path) -> str:
    """A digest of what the file at ``path`` holds.

    Raises:
        CheckpointError: If it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {reason(error)}") from error


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed run was writing."""
    for path in folder.rglob("*" + UNFINISHED):
        path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` atomically."""
    write(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` atomically, as ``json_text`` has it."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """``value`` as JSON, indented; what JSON does not know (fractions, paths) as its text."""
    return json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n"


def write_json_lines(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON object a line, atomically."""
    write_text(path, "".join(json.dumps(row, default=str) + "\n" for row in rows))


def copy(source: Path, target: Path) -> None:
    """Copy a file atomically."""
    write(target, lambda unfinished: shutil.copyfile(source, unfinished))


def read_json(path: Path, remedy: str = "Put back a copy") -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CheckpointError: If the file holds none; the message ends with ``remedy``.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError(f"it holds a {type(value).__name__}, not an object")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); nothing was changed. {remedy}") from error
    return value


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values atomically."""
    write(path, lambda unfinished: torch.save(state, unfinished))


def load_checkpoint(path: Path, remedy: str = "Put back a copy") -> dict[str, Any]:
    """The state written by ``save_checkpoint``, on the CPU. Admits tensors and plain values only.

    Raises:
        CheckpointError: If the file is missing, truncated, altered, or holds anything else; the message ends with
            ``remedy``.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load itself does not notice altered bytes
            altered = archive.testzip()
        if altered is not None:
            raise zipfile.BadZipFile(f"checksum of {altered} does not match")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}, not a dictionary")
    except pickle.UnpicklingError as error:
        # torch's own words go on to explain how to load it all the same.
        message = f"{path} holds more than tensors and plain values, so it is no checkpoint of ours"
        raise CheckpointError(f"{message}; nothing was changed. {remedy}") from error
    except Exception as error:  # zipfile, zlib, pickle and torch raise a dozen unrelated types here
        raise CheckpointError(
            f"{path} is damaged or no checkpoint ({reason(error)}); nothing was changed. {remedy}"
        ) from error
    return state
