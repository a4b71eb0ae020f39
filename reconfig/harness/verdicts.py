"""Verdicts on files: for each image, whether a network is still right under an attack."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from reconfig import ReconfigError
from reconfig.harness import files


class VerdictError(ReconfigError):
    """Verdicts that cannot be read, or that are about something else."""


def digest(tensors: Iterable[Tensor]) -> str:
    """A short text that depends on every byte and shape, wherever the tensors lie."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(repr((tuple(tensor.shape), str(tensor.dtype))).encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]  # 64 bits: enough to tell runs from one another


def weights_digest(model: nn.Module) -> str:
    """The digest of a network's parameters and buffers."""
    return digest(tensor for _, tensor in sorted(model.state_dict().items()))


def write(path: Path, verdicts: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write verdicts (bool [N] each) with what they are about, atomically, as safetensors."""
    held = {name: verdict.cpu().contiguous() for name, verdict in verdicts.items()}
    files.write(path, lambda unfinished: save_file(held, unfinished, metadata=dict(about)))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The verdicts that ``write`` left, and what they are about.

    Raises:
        VerdictError: If the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise VerdictError(
            f"{path} is damaged ({files.reason(error)}); nothing was changed. Remove it to have it made again"
        ) from error
