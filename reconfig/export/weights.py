"""Trained weights out of a file, whoever wrote it, into a network of their shapes."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reconfig.errors import ExportError

_WITHIN = ("state_dict", "model_state_dict", "model", "net", "network")  # where checkpoints keep a state dict
_WRAPPED = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put in front of names
_SHOWN = 3


def fill(model: nn.Module, path: Path) -> None:
    """Load the state dict in ``path`` into ``model``.

    Args:
        model: the network that the weights were trained in.
        path: a safetensors file, or a checkpoint of ``torch.save`` that holds a state dict alone, or under one of
            the usual keys. Nothing in it is executed.

    Raises:
        ExportError: where the file cannot be read, or its tensors are not those of the network; the message names some.
    """
    state = _unwrapped(_state(path, _read(path)))
    wanted = model.state_dict()
    shared = _shared(wanted)
    wrong = [
        f"{name} is {_shape(state.get(name))} in the file and {_shape(wanted.get(name))} in the network"
        for name in sorted({*state, *wanted})
        if _shape(state.get(name)) != _shape(wanted.get(name)) and not (name in wanted and shared[name] & state.keys())
    ]
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise ExportError(
            f"{path} does not hold the weights of this network: {'; '.join(wrong[:_SHOWN])}{more}; give the rule or "
            "the plan that the network was trained with"
        )
    model.load_state_dict(state, strict=False)


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except ImportError as error:
        raise ExportError(f"{path} is read by safetensors: pip install 'robust-reconfig[export]'") from error
    except FileNotFoundError as error:
        raise ExportError(f"{path} is missing") from error
    except pickle.UnpicklingError as error:
        raise ExportError(
            f"{path} holds more than tensors, which is not executed: torch.save(model.state_dict(), path) writes a "
            "file that can be read"
        ) from error
    except Exception as error:
        raise ExportError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def _state(path: Path, found: Any) -> dict[str, Tensor]:
    """The state dict in what a file holds."""
    if isinstance(found, Mapping):
        if found and all(isinstance(value, Tensor) for value in found.values()):
            return dict(found)
        for key in _WITHIN:
            if isinstance(found.get(key), Mapping):
                return _state(path, found[key])
    raise ExportError(f"{path} holds no state dict: torch.save(model.state_dict(), path) writes one")


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _WRAPPED:
        if all(name.startswith(prefix) for name in state):
            return _unwrapped({name.removeprefix(prefix): tensor for name, tensor in state.items()})
    return state


def _shared(state: Mapping[str, Tensor]) -> dict[str, set[str]]:
    """By name, the other names of the same tensor."""
    groups: dict[tuple[int, torch.Size], set[str]] = {}
    for name, tensor in state.items():
        groups.setdefault((tensor.data_ptr(), tensor.shape) if tensor.numel() else (id(name), tensor.shape), set()).add(
            name
        )
    return {name: group - {name} for group in groups.values() for name in group}


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else str(tuple(tensor.shape))
