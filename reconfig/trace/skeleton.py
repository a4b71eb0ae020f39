"""Copies of a model without its storage: what is captured, rewritten and verified in its place.

A *skeleton* has the model's modules and attributes, and its parameters and buffers on the meta device, so that nothing
is allocated or computed.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, MethodWrapperType
from typing import Any
from weakref import WeakMethod

import torch
from torch import Tensor, nn

from reconfig.trace.reach import HOOKS, attributes
from reconfig.trace.separate import cannot_copy, separate


def modules_of(model: nn.Module) -> dict[str, nn.Module]:
    """All modules by name, the model itself first; a shared one comes once, under its first name.

    What ``named_modules`` gives, without a generator for every level, since it is asked for often.
    """
    found: dict[str, nn.Module] = {}
    seen: set[nn.Module] = set()

    def visit(path: str, module: nn.Module) -> None:
        seen.add(module)
        found[path] = module
        prefix = f"{path}." if path else ""
        for name, child in module._modules.items():
            if child is not None and child not in seen:
                visit(prefix + name, child)

    visit("", model)
    return found


def within(name: str, path: str) -> bool:
    """Whether a name is of this module or of something inside it, as all is in the model, whose path is empty."""
    return not path or name == path or name.startswith(path + ".")


def tensors_of(model: nn.Module, *kinds: str) -> Iterator[tuple[str, Tensor]]:
    """Parameters, then buffers (or one of these ``kinds`` alone), by name; a shared one comes once, by its first."""
    modules = modules_of(model)
    for kind in kinds or ("parameters", "buffers"):
        seen: set[int] = set()
        for path, module in modules.items():
            for name, tensor in vars(module)[f"_{kind}"].items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield f"{path}.{name}" if path else name, tensor


def tensors_by_name(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers under all of their names, shared ones too."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def clone(model: nn.Module, replace: Callable[[str, Tensor], Tensor], around: Sequence[nn.Module] = ()) -> nn.Module:
    """A deep copy of ``model`` in which every parameter and buffer is ``replace(name, tensor)`` instead of a copy.

    The old tensors are never copied, so a skeleton costs no storage. Hooks stay behind, except the model's own: those
    of ``torch.nn.utils`` that compute parameters, methods of what a module is or holds (timm's ``FeatureHooks``), and
    functions of its library that keep nothing (transformers' ``output_hidden_states``).
    Any other is the caller's business with the caller's model, and so is compilation. Nothing that the copy reaches
    belongs to ``model``; what it reaches of the modules ``around``, where ``model`` is part of a network, stays theirs.

    Raises:
        ModelError: where that cannot be had, or something is not to be copied; it names the attribute.
    """
    memo: dict[int, Any] = {id(module): module for module in around}
    for name, tensor in tensors_of(model):
        new = replace(name, tensor)
        if isinstance(tensor, nn.Parameter) and not isinstance(new, nn.Parameter):
            new = nn.Parameter(new, requires_grad=tensor.requires_grad)
        memo[id(tensor)] = new
    modules = modules_of(model)
    owners = _hooking(modules.values())
    for module in modules.values():
        # What was computed (a weight by old-style weight_norm, features kept) has a history, which cannot be copied.
        for tensor in _kept_tensors(module):
            if not tensor.is_leaf and id(tensor) not in memo:
                memo[id(tensor)] = tensor.detach().clone()
        for registry in _hook_registries(module):
            for hook in registry.values():
                if not _is_own(hook, owners):
                    memo[id(hook)] = hook
    _copy_modules(modules, memo)
    result = copy.deepcopy(model, memo)
    copied = modules_of(result)
    owners = _hooking(copied.values())
    for module in copied.values():
        for registry in _hook_registries(module):
            for key in [key for key, hook in registry.items() if not _is_own(hook, owners)]:
                del registry[key]
                for options in (
                    "_forward_hooks_with_kwargs",
                    "_forward_hooks_always_called",
                    "_forward_pre_hooks_with_kwargs",
                ):
                    vars(module)[options].pop(key, None)
    separate(copied, modules, memo, around)
    return result


def _kept_tensors(module: nn.Module) -> Iterator[Tensor]:
    """Tensors among the plain attributes of a module, in lists, tuples and dictionaries too."""
    values = [value for _, value in attributes(module)]
    seen: set[int] = set()
    while values:
        value = values.pop()
        if isinstance(value, Tensor):
            yield value
        elif type(value) in _HOLDERS and id(value) not in seen:
            seen.add(id(value))
            values.extend(value.values() if isinstance(value, dict) else value)


_ATOMS = frozenset(
    {int, float, bool, str, bytes, type(None), type, torch.dtype}
    | {FunctionType, BuiltinFunctionType, MethodWrapperType, WeakMethod}  # made anew afterwards, where need be
)
_HOLDERS = (list, tuple, dict, OrderedDict)
_FLAT = (list, set)  # where they hold atoms alone, which is nearly always


def _copy_modules(modules: Mapping[str, nn.Module], memo: dict[int, Any]) -> None:
    """Enter copies of ``modules`` into the memo of a deepcopy.

    They are what deepcopy itself would make, in a fraction of its time: empty ones first, so that they can refer to
    each other, then their attributes. A class that says how it is copied is left to deepcopy.
    """
    kinds = {kind: _copies_plainly(kind) for kind in {type(module) for module in modules.values()}}
    plain = {path: module for path, module in modules.items() if kinds[type(module)]}
    memo.update({id(module): type(module).__new__(type(module)) for module in plain.values()})
    for module in plain.values():
        memo[id(module._modules)] = type(module._modules)()
        _copy_children(module, memo)
    for path, module in plain.items():
        copied: dict[str, Any] = {}
        for name, value in vars(module).items():
            try:
                copied[name] = value if type(value) in _ATOMS else _copied(value, memo)
            except Exception as error:
                raise cannot_copy(f"{path}.{name}" if path else name, value, error) from error
        vars(memo[id(module)]).update(copied)
    if len(plain) == len(modules):
        return
    for path, module in reversed(list(modules.items())):  # what is inside first, since a class may look at its children
        if path in plain:
            _copy_children(module, memo)
            continue
        try:
            copy.deepcopy(module, memo)
        except Exception as error:
            raise cannot_copy(path or "model", module, error) from error
    for module in plain.values():
        _copy_children(module, memo)


def _copy_children(module: nn.Module, memo: dict[int, Any]) -> None:
    memo[id(module._modules)].update({name: memo.get(id(child), child) for name, child in module._modules.items()})


def _copies_plainly(kind: type[nn.Module]) -> bool:
    if hasattr(kind, "__deepcopy__") or hasattr(kind, "__copy__"):
        return False
    # A convolution's __setstate__ only fills in what old pickles lack.
    usual = kind.__setstate__ in (nn.Module.__setstate__, nn.modules.conv._ConvNd.__setstate__)
    methods = ("__reduce__", "__reduce_ex__", "__getstate__", "__new__")
    return usual and all(getattr(kind, name, None) is getattr(nn.Module, name, None) for name in methods)


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in _ATOMS or (kind is tuple and _ATOMS.issuperset(map(type, value))):
        return value
    if id(value) in memo:
        return memo[id(value)]
    if kind is dict or kind is OrderedDict:
        memo[id(value)] = entries = kind()
        if value:
            entries.update({key: _copied(item, memo) for key, item in value.items()})
        return entries
    if kind in _FLAT and _ATOMS.issuperset(map(type, value)):
        memo[id(value)] = items = kind(value)
        return items
    return copy.deepcopy(value, memo)


def _hook_registries(module: nn.Module) -> Iterator[dict[int, Any]]:
    for name in HOOKS:
        yield vars(module)[name]


@dataclass(frozen=True)
class _Owners:
    """Whose hooks are the model's own: identities of what its modules are and hold, and their libraries."""

    held: frozenset[int] = frozenset()
    libraries: frozenset[str] = frozenset()


def _hooking(modules: Collection[nn.Module]) -> _Owners:
    """The owners of hooks in these modules, where one of them has a hook at all."""
    if not any(registry for module in modules for registry in _hook_registries(module)):
        return _Owners()  # nearly always
    held = frozenset(id(item) for module in modules for item in (module, *vars(module).values()))
    return _Owners(held, frozenset(_library(type(module)) for module in modules) - {"torch", "__main__"})


def _library(item: Any) -> str:
    return str(item.__module__).partition(".")[0]


def _is_own(hook: Any, owners: _Owners) -> bool:
    """Whether a hook computes parameters, is a method (arguments given or not) of what is held, or keeps nothing.

    A function that keeps nothing, and comes from the model's library, is one that the model puts there in its forward.
    """
    if type(hook).__module__.startswith("torch.nn.utils"):
        return True
    while isinstance(hook, partial):
        hook = hook.func
    if isinstance(hook, MethodType):
        return id(hook.__self__) in owners.held
    return isinstance(hook, FunctionType) and _library(hook) in owners.libraries and _keeps_nothing(hook)


def _keeps_nothing(function: FunctionType) -> bool:
    """Whether all that a function has from where it was made is numbers, names and such functions."""
    kept = [cell.cell_contents for cell in function.__closure__ or ()]
    return bool(kept) and all(
        _keeps_nothing(item) or not item.__closure__ if isinstance(item, FunctionType) else type(item) in _ATOMS
        for item in kept
    )


def make_skeleton(model: nn.Module, device: str = "meta") -> nn.Module:
    """``model`` with all its tensors on ``device``, in eval mode. On meta it allocates no parameter storage."""

    def moved(_: str, tensor: Tensor) -> Tensor:
        if device != "meta":
            return tensor.detach().to(device, copy=True)
        return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta")

    result = clone(model, moved)
    for module in modules_of(result).values():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor) and value.device.type != device:
                setattr(module, name, value.detach().to(device))
    return result.train().eval()  # what some models keep in eval mode they let go where they train
