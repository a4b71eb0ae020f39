"""A layer of torch.nn as the call that makes one like it."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from reconfig.errors import ExportError
from reconfig.export.code.text import Text, joined
from reconfig.export.code.values import literal
from reconfig.trace.reach import HOOKS

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
_NOT_SETTINGS = ("training", "_parameters", "_buffers", "_modules")


def settings(module: nn.Module) -> dict[str, Any] | None:
    """What a layer of torch.nn is made with, as ``{"in_channels": 3, ...}``; its class called with it was tried.

    None where there is no such thing: it is no layer of torch.nn, has hooks, or its class does not keep what it was
    made with.
    """
    kind = type(module)
    if getattr(nn, kind.__name__, None) is not kind or isinstance(module, _CONTAINERS):
        return None
    if any(vars(inside)[name] for inside in module.modules() for name in HOOKS):
        return None
    found = _arguments(module)
    if found is None or not _makes(module, found):
        return None
    for name, value in list(found.items()):
        if isinstance(value, tuple) and len(set(value)) == 1 and _makes(module, {**found, name: value[0]}):
            found[name] = value[0]
    return found


def needed(module: nn.Module, found: dict[str, Any]) -> set[str]:
    """Which settings are not as the class has them by default."""
    left = dict(found)
    for name in found:
        simpler = {key: value for key, value in left.items() if key != name}
        if _makes(module, simpler):
            left = simpler
    return set(left)


def layer(module: nn.Module, found: dict[str, Any]) -> Text:
    """The expression that makes a layer with these settings, as ``nn.Conv2d(3, 16, kernel_size=3)``."""
    parameters = list(inspect.signature(type(module).__init__).parameters.values())[1:]
    plain = [parameter.name for parameter in parameters[:2] if parameter.default is parameter.empty]
    parts = [
        literal(value).hinted(name) if name in plain else f"{name}=" + literal(value).hinted(name)
        for name, value in found.items()
    ]
    return f"nn.{type(module).__name__}(" + joined(parts) + ")"


def _arguments(module: nn.Module) -> dict[str, Any] | None:
    """What the class takes, out of the attributes of the same names."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(type(module).__init__).parameters.items():
        if name in ("self", "device"):
            continue
        if parameter.kind is parameter.VAR_POSITIONAL or parameter.kind is parameter.VAR_KEYWORD:
            if vars(module).keys() - vars(nn.Module()).keys():
                return None
            continue
        if name == "dtype":
            dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
            found.update({} if dtype is torch.float32 else {"dtype": dtype})
        elif name in module._parameters:
            found[name] = module._parameters[name] is not None
        elif name in vars(module):
            found[name] = vars(module)[name]
        elif parameter.default is parameter.empty:
            return None
    return found


def _makes(module: nn.Module, arguments: dict[str, Any]) -> bool:
    """Whether the class makes such a layer of these arguments."""
    try:
        for value in arguments.values():
            literal(value)
        with torch.device("meta"):
            made = type(module)(**arguments)
    except (ExportError, TypeError, ValueError, RuntimeError):
        return False
    ours, theirs = dict(made.named_modules()), dict(module.named_modules())
    return ours.keys() == theirs.keys() and all(_alike(ours[path], theirs[path]) for path in ours)


def _alike(ours: nn.Module, theirs: nn.Module) -> bool:
    return type(ours) is type(theirs) and _settings(ours) == _settings(theirs) and _tensors(ours) == _tensors(theirs)


def _settings(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if name not in _NOT_SETTINGS and name not in HOOKS}


def _tensors(module: nn.Module) -> dict[str, Any]:
    kept: dict[str, Tensor | None] = {**module._parameters, **module._buffers}
    return {name: (tuple(tensor.shape), tensor.dtype) if tensor is not None else None for name, tensor in kept.items()}
