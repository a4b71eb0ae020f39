"""Give a skeleton its new shapes, and turn it into a network with real tensors. Only this module changes modules."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reconfig.rewrite.depth import DepthEdit, origin
from reconfig.trace.record import Shape
from reconfig.trace.skeleton import modules_of
from reconfig.widths.solver import Widths
from reconfig.widths.structure import Attribute, Sizes

Kept = int | tuple[Any, ...]
"""A number that a module keeps, or several."""


@dataclass(frozen=True)
class AttributeEdit:
    """A number that a module keeps about its widths, and its new value.

    Attributes:
        path: module name of the module that keeps it.
        name: the attribute's name, with the keys that lead on from it where it is inside something
            (``feature_info.4.num_chs``).
        old, new: its values.
    """

    path: str
    name: str
    old: Kept
    new: Kept


def replace_tensors(model: nn.Module, new: Callable[[str, Tensor], Tensor]) -> None:
    """Put ``new(name, tensor)`` in place of every parameter and buffer; shared ones stay shared (by first name)."""
    done: dict[int, Tensor] = {}
    alive: list[Tensor] = []  # an id is only an identity while its tensor lives
    for path, module in modules_of(model).items():
        registries: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for registry in registries:
            for name, tensor in registry.items():
                if tensor is None:
                    continue
                if id(tensor) not in done:
                    made = new(f"{path}.{name}" if path else name, tensor)
                    if isinstance(tensor, nn.Parameter):
                        made = _parameter_like(tensor, made)
                    done[id(tensor)] = made
                    alive.append(tensor)
                registry[name] = done[id(tensor)]


def _parameter_like(old: nn.Parameter, data: Tensor) -> nn.Parameter:
    new = nn.Parameter(data.detach(), requires_grad=old.requires_grad)
    if old.__dict__:
        new.__dict__.update(copy.deepcopy(old.__dict__))
    return new


def resize(model: nn.Module, shapes: Mapping[str, Shape], attributes: Sequence[AttributeEdit]) -> None:
    """Give parameters and buffers of ``model`` (a skeleton) these shapes and its modules these numbers, in place."""

    def resized(name: str, tensor: Tensor) -> Tensor:
        shape = shapes.get(name, tuple(tensor.shape))
        if shape == tuple(tensor.shape):
            return tensor.detach()
        return torch.ones(shape, dtype=tensor.dtype, device=tensor.device)

    replace_tensors(model, resized)
    set_numbers(model, {(edit.path, edit.name): edit.new for edit in attributes})


def set_numbers(model: nn.Module, numbers: Mapping[tuple[str, str], Any]) -> None:
    """Give attributes, by module and name, these values; what is a list stays one."""
    for (path, name), value in numbers.items():
        holder, key = _holder(model.get_submodule(path), name)
        new = list(value) if isinstance(_entry(holder, key), list) else value
        if isinstance(holder, dict):
            holder[key] = new
        elif isinstance(holder, list):
            holder[int(key)] = new
        else:
            setattr(holder, key, new)


def kept_at(module: nn.Module, name: str) -> Any:
    """What a module keeps under this name, which may lead on by keys, as that of an ``AttributeEdit``.

    Raises:
        LookupError, AttributeError: where there is nothing of this name.
    """
    return _entry(*_holder(module, name))


def _holder(module: nn.Module, name: str) -> tuple[Any, str]:
    """What holds the value of this name, and the last key to it."""
    *way, last = name.split(".")
    holder: Any = module
    for key in way:
        holder = _entry(holder, key)
    return holder, last


def _entry(holder: Any, key: str) -> Any:
    if isinstance(holder, dict):
        return holder[key]
    return holder[int(key)] if isinstance(holder, list | tuple) else getattr(holder, key)


def attribute_edits(
    model: nn.Module, attributes: Sequence[Attribute], widths: Widths, sizes: Sizes
) -> tuple[AttributeEdit, ...]:
    """What these numbers, as the modules of ``model`` keep them, become; those that stay are left out."""
    followed: dict[tuple[str, str], dict[int, int]] = {}
    for attribute in attributes:
        old, new = widths.size(attribute.extent), widths.size(attribute.extent, sizes)
        followed.setdefault((attribute.path, attribute.name), {})[old] = new
    edits = []
    modules = modules_of(model)
    for (path, name), numbers in followed.items():
        value = vars(modules[path]).get(name)
        new_value = renumbered(value, numbers)
        if new_value != value:
            edits.append(AttributeEdit(path, name, _as_tuple(value), _as_tuple(new_value)))
    return tuple(edits)


def _as_tuple(value: Any) -> Any:
    """Lists as tuples, so that a plan is the same after JSON."""
    return tuple(value) if isinstance(value, list) else value


def materialise(
    skeleton: nn.Module, original: nn.Module, edits: Sequence[DepthEdit], fill: Callable[[str, Tensor], Tensor]
) -> None:
    """Turn the skeleton of a result into a network: real tensors, and the original's modes and other attributes.

    Args:
        skeleton: has the result's shapes; changed in place.
        original: the caller's model, only read.
        edits: the depth edits between the two.
        fill: the real tensor for a name and its meta tensor.
    """
    replace_tensors(skeleton, fill)
    sources = dict(original.named_modules(remove_duplicate=False))  # a shared module under all of its names
    for path, module in modules_of(skeleton).items():
        source = sources[origin(path, edits)]
        module.training = source.training
        for name, value in _plain_tensors(source):
            own = vars(module).get(name)
            if isinstance(own, Tensor) and own.shape == value.shape:  # what it caches is made anew
                setattr(module, name, value.detach().clone())


def _plain_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Tensors that a module keeps outside of its parameters and buffers."""
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield name, value


def renumbered(value: Any, new: Mapping[int, int]) -> Any:
    """``value`` (a number, or a tuple or list of them) with numbers replaced by what they are ``new``."""
    if type(value) is int:
        return new.get(value, value)
    if type(value) in (tuple, list):
        return type(value)(renumbered(item, new) for item in value)
    return value


def holds(value: object, number: int) -> bool:
    """Whether ``value`` is this number, or a tuple or list that has it."""
    if type(value) in (tuple, list):
        return number in value  # type: ignore[operator]
    return type(value) is int and value == number
