"""What a value reaches of a model: through attributes, containers, closures, partials, bound methods, weak references.

Python's garbage collector knows what an object refers to; functions, whose globals are everybody's, and weak references
are looked at by hand.
"""

from __future__ import annotations

import dis
import functools
import gc
import logging
import types
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from reconfig.errors import ModelError

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
FUNCTION_CACHE = type(functools.lru_cache(lambda: None))
_REGISTRIES = ("_parameters", "_buffers", "_modules")
_ABOUT_CLASSES = ("__annotations__", "__constants__")
_ATOMS = frozenset(
    {int, float, bool, complex, str, bytes, type(None), type(...), slice, range}
    | {torch.dtype, torch.device, torch.Size, torch.memory_format, types.ModuleType, types.CodeType, logging.Logger}
)
_CONTAINERS = frozenset({dict, list, tuple, set, OrderedDict})


def by_kind(modules: Iterable[nn.Module]) -> dict[type[nn.Module], list[nn.Module]]:
    """Modules by their class."""
    kinds: dict[type[nn.Module], list[nn.Module]] = {}
    for module in modules:
        kinds.setdefault(type(module), []).append(module)
    return kinds


def own_bases(kind: type[nn.Module]) -> Iterator[type]:
    """The classes of a module but torch's own.

    Those keep nothing of a model. One that ``torch.nn.utils.parametrize`` makes has a function that refers to its
    module, for the identity by which values are cached alone.
    """
    return (base for base in kind.__mro__ if base is not object and not base.__module__.startswith("torch."))


def attributes(module: nn.Module) -> list[tuple[str, Any]]:
    """What a module keeps outside of its registries and could reach something through."""
    return [
        (name, value)
        for name, value in vars(module).items()
        if (kind := type(value)) not in _ATOMS
        and not (kind in _CONTAINERS and (not value or (kind is tuple and _ATOMS.issuperset(map(type, value)))))
        and name not in _REGISTRIES
    ]


def class_attributes(modules: Iterable[nn.Module]) -> Iterator[tuple[str, Any]]:
    """What the classes of modules keep, methods too."""
    for base in dict.fromkeys(base for kind in by_kind(modules) for base in own_bases(kind)):
        for name, value in vars(base).items():
            if not is_atom(value) and name not in _ABOUT_CLASSES:
                # The entries of a method's cache are found by its arguments, and a copy is another argument.
                yield f"{base.__qualname__}.{name}", value.__wrapped__ if type(value) is FUNCTION_CACHE else value


def is_atom(value: object) -> bool:
    """Whether nothing is reached through a value; nothing is looked for behind classes, Python modules and loggers."""
    return type(value) in _ATOMS or isinstance(value, type)


class Search:
    """Finds what belongs to the original among all that a value reaches, the modules of the copy aside."""

    def __init__(
        self, copied: Mapping[str, nn.Module], original: Mapping[str, nn.Module], around: Iterable[nn.Module]
    ) -> None:
        self._copied, self._original = copied, original
        self._end = {id(module) for module in (*copied.values(), *around)}
        self._names = {id(module): path or "the model itself" for path, module in original.items()}
        for path, module in original.items():
            for registry in (module._parameters, module._buffers):
                for name, tensor in registry.items():
                    if tensor is not None:
                        self._names[id(tensor)] = f"{path}.{name}" if path else name
        self._namespaces: dict[int, bool] = {}

    def check_registered(self) -> None:
        """Raise where a module, parameter or buffer of the copy is the original's."""
        for path, module in self._copied.items():
            if id(module) in self._names:
                raise ModelError(
                    f"module {path!r} ({type(module).__name__}) cannot be copied: copy.deepcopy returns the module "
                    "itself (see its class's __deepcopy__); replace it by a copy of its own before reconfig.apply"
                )
            for registry in (module._parameters, module._buffers):
                for name, tensor in registry.items():
                    if id(tensor) in self._names:
                        raise ModelError(
                            f"{name!r} of module {path!r} ({type(module).__name__}) stays the same tensor in a copy "
                            "(see its class's __deepcopy__); clone it there"
                        )

    def anything(self) -> bool:
        """Whether anything of the original is reached at all."""
        values = [value for module in self._copied.values() for _, value in attributes(module)]
        values += [value for _, value in class_attributes(self._copied.values())]
        return self._found(values) is not None

    def __call__(self, value: object) -> str | None:
        """What of the original this value reaches, in words; None for nothing."""
        return self._found([value])

    def _found(self, values: list[Any]) -> str | None:
        for value in self._reached(values, self._end):
            name = self._names.get(id(value))
            if name is not None:
                return f"leads to {name!r} of the model, and so would a copy of it"
            if isinstance(value, nn.Module):
                if id(value) in self._loose:
                    return f"leads to a {type(value).__name__} that the model uses, and so would a copy of it"
                twin = self._twin(value)
                if twin is not None:
                    return f"keeps a second network like {twin!r}, which would stay as it is while that one changes"
            elif isinstance(value, Tensor):
                if id(value) in self._loose:
                    return "leads to a parameter that the model uses, and so would a copy of it"
                name = self._storages.get(_storage(value))
                if name is not None:
                    return f"leads to the memory of {name!r}, and so would a copy of it"
        return None

    def _reached(self, values: list[Any], end: set[int]) -> Iterator[object]:
        """Everything that these values reach, themselves too, up to the modules whose ids are the ``end``."""
        seen: dict[int, object] = {}  # an id is only an identity while its object lives
        while values:
            value = values.pop()
            if is_atom(value) or id(value) in seen or id(value) in end:
                continue
            seen[id(value)] = value
            yield value
            values.extend(self._referents(value))

    def _referents(self, value: Any) -> Iterable[object]:
        if isinstance(value, types.FunctionType):
            return self._held_by(value)
        if isinstance(value, weakref.ref):
            return (value(), value.__callback__)
        if isinstance(value, Tensor):  # without the history of gradients
            return vars(value).values()
        return gc.get_referents(value)

    def _held_by(self, function: types.FunctionType) -> list[object]:
        held = [content for cell in function.__closure__ or () for content in contents_of(cell)]
        held += function.__defaults__ or ()
        held += (function.__kwdefaults__ or {}).values()
        held += vars(function).values()
        namespace = function.__globals__
        if id(namespace) not in self._namespaces:
            self._namespaces[id(namespace)] = not self._names.keys().isdisjoint(map(id, namespace.values()))
        if self._namespaces[id(namespace)]:  # as in a script or notebook that has the model as a variable
            held += [namespace[name] for name in _globals_of(function.__code__) if name in namespace]
        return held

    @functools.cached_property
    def _loose(self) -> frozenset[int]:
        """Ids of modules and parameters that the original uses and has not registered."""
        values = [
            value
            for module in self._original.values()
            for name, value in attributes(module)
            if name not in HOOKS  # which stay behind
        ]
        return frozenset(
            id(value)
            for value in self._reached(values, set(self._names))
            if isinstance(value, nn.Module | nn.Parameter)
        )

    @functools.cached_property
    def _storages(self) -> dict[int, str]:
        """Names of parameters and buffers by where their numbers lie; nothing lies on meta."""
        found = {
            _storage(tensor): self._names[id(tensor)]
            for module in self._original.values()
            for registry in (module._parameters, module._buffers)
            for tensor in registry.values()
            if tensor is not None
        }
        found.pop(0, None)
        return found

    def _twin(self, module: nn.Module) -> str | None:
        """The registered module of which this one is a copy (an average of its weights): not of a single layer."""
        if not module._modules:
            return None
        shapes = _shapes(module)
        for path, other in self._copied.items():
            if type(other) is type(module) and shapes and _shapes(other) == shapes:
                return path or "the model itself"
        return None


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in module.named_parameters()}


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout is torch.strided else 0


def contents_of(cell: types.CellType) -> tuple[object, ...]:
    """What a closure's cell holds: nothing, or one value."""
    try:
        return (cell.cell_contents,)
    except ValueError:  # not yet assigned
        return ()


def _globals_of(code: types.CodeType) -> Iterator[str]:
    """The global names that some code reads, with the functions defined in it."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals_of(constant)
