"""The weights of a model that was trained elsewhere, out of a file, without executing anything in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

import reconfig
from reconfig.harness import files
from reconfig.harness.building import build
from reconfig.harness.files import CheckpointError
from reconfig.harness.normalised import Moments, behind

_INSIDE = ("state_dict", "model_state_dict", "model", "net", "state")
"""What others call the state dict in a checkpoint."""
_BEFORE = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and trainers put before every name."""
_SHOWN = 4


def load(model: str, path: Path, classes: int) -> nn.Module:
    """The network called ``model``, built for ``classes``, with the weights in the file at ``path``, in eval mode.

    A file that ``reconfig.save`` wrote has the network's plan in it, which is applied. One that has a normalisation in
    it, as exported networks have that were trained behind one, gives a ``Normalised``.

    Raises:
        CheckpointError: The file is missing, damaged, holds more than tensors, or tensors of another network.
        ReconfigError: The network cannot be built.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file of weights {path}")
    has_plan = path.suffix == ".safetensors" and _has_plan(path)
    found = _read(path)
    network = behind(build(model, classes), _moments(found))
    if has_plan:
        return reconfig.load(path, lambda: network).eval()
    _fill(network, _unwrapped(found, set(network.state_dict())), path, model)
    return network.eval()


def _has_plan(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return "plan" in (file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file: {files.reason(error)}") from error


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        return dict(load_file(path))
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zipfile and torch raise a dozen unrelated types
        raise CheckpointError(
            f"{path} is damaged, or holds more than tensors and plain values, which would be executed"
            f" ({type(error).__name__}); save the network with torch.save(model.state_dict(), path) or"
            " safetensors.torch.save_file(model.state_dict(), path)"
        ) from error
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{path} holds a {type(found).__name__}, not the state dict of a network")
    return dict(found)


def _moments(found: dict[str, Any]) -> Moments | None:
    """The normalisation beside the tensors of a network that was saved behind it."""
    others = found.keys() - {*Moments._fields}
    if len(others) != len(found) - 2 or not all(name.startswith("model.") for name in others):
        return None
    values = [found[name] for name in Moments._fields]
    if not all(isinstance(value, Tensor) and value.is_floating_point() for value in values):
        return None
    return Moments(*(tuple(value.flatten().tolist()) for value in values))


def _unwrapped(found: dict[str, Any], wanted: set[str]) -> dict[str, Tensor]:
    """The tensors by the names that a network gives them, out of what trainers wrap around them."""
    for name in _INSIDE:
        if isinstance(found.get(name), Mapping):
            return _unwrapped(dict(found[name]), wanted)
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    for before in _BEFORE:
        if tensors and not wanted & tensors.keys() and all(name.startswith(before) for name in tensors):
            return _unwrapped({name.removeprefix(before): value for name, value in tensors.items()}, wanted)
    return tensors


def _fill(network: nn.Module, tensors: dict[str, Tensor], path: Path, model: str) -> None:
    own = network.state_dict()
    wrong = [f"{name} is missing" for name in own if name not in tensors]
    wrong += [f"{name} is unknown" for name in tensors if name not in own]
    wrong += [
        f"{name} is {list(tensors[name].shape)} and not {list(value.shape)}"
        for name, value in own.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise CheckpointError(f"{path} does not hold the weights of {model}: {'; '.join(wrong[:_SHOWN])}{more}")
    network.load_state_dict(tensors)
