"""Part a copy of a model from its original: nothing that the copy reaches may be the caller's.

``copy.deepcopy`` shares functions, weak references and whatever its class says is never copied. Through a closure, a
compiled call or a cache the copy would then run, train or change the caller's network. What can be made anew is: bound
methods, partials, functions whose cells hold a part of the model, weak references, function caches (empty). A compiled
function gives way to what it was compiled from. What remains is refused, before anything of the model runs.
"""

from __future__ import annotations

import copy
import dis
import functools
import gc
import logging
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from reconfig.errors import ModelError

_ATOMS = frozenset(
    {int, float, bool, complex, str, bytes, type(None), type(...), slice, range}
    | {torch.dtype, torch.device, torch.Size, torch.memory_format, types.ModuleType, types.CodeType, logging.Logger}
)
_CONTAINERS = frozenset({dict, list, tuple, set, OrderedDict})
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_REGISTRIES = ("_parameters", "_buffers", "_modules")
_ABOUT_CLASSES = ("__annotations__", "__constants__")
_CACHE = type(functools.lru_cache(lambda: None))
_WEAK = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet)


def separate(copied: Mapping[str, nn.Module], original: Mapping[str, nn.Module], memo: dict[int, Any]) -> None:
    """Make the modules of a deep copy independent of the original's, in place.

    Compiled calls (``Module.compile``) and values of cached properties stay behind, as they can be made again.

    Args:
        copied: modules of the copy, by name.
        original: modules of the original, by name; only read.
        memo: what the deepcopy entered its copies into, by the ids of their originals.

    Raises:
        ModelError: where something of the original would still be reached; it names the attribute and the remedy.
    """
    for module in copied.values():
        vars(module).pop("_compiled_call_impl", None)
    for kind, modules in _by_kind(copied.values()).items():
        for name in _cached_properties(kind):
            for module in modules:
                vars(module).pop(name, None)
    search = _Search(copied, original)
    search.check_registered()
    if not search.anything():
        return
    mend = _Mender(memo, search)
    for path, module in copied.items():
        for name, value in attributes(module):
            if search(value) is not None:
                where = f"{path}.{name}" if path else name
                try:
                    vars(module)[name] = mended = mend(value)
                except Exception as error:
                    raise ModelError(f"{_described(where, value)} cannot be copied: {error}; {_REMEDY}") from error
                found = search(mended)
                if found is not None:
                    raise ModelError(f"{_described(where, value)} {found}; {_REMEDY}")
    for where, value in _class_attributes(copied.values()):
        found = search(value)
        if found is not None:
            raise ModelError(
                f"{_described(where, value)} {found}, and copies share their class: "
                "keep it in the instance (self), or remove it before reconfig.apply"
            )


_REMEDY = "remove the attribute before reconfig.apply, and set it on the result"


def cannot_copy(where: str, value: object, error: Exception) -> ModelError:
    """The error for an attribute that ``copy.deepcopy`` fails on."""
    return ModelError(f"{_described(where, value)} cannot be copied: {error}; {_REMEDY}")


def _described(where: str, value: object) -> str:
    return f"{where!r} (a {type(value).__name__})"


def _by_kind(modules: Iterable[nn.Module]) -> dict[type[nn.Module], list[nn.Module]]:
    kinds: dict[type[nn.Module], list[nn.Module]] = {}
    for module in modules:
        kinds.setdefault(type(module), []).append(module)
    return kinds


def _bases(kind: type[nn.Module]) -> Iterator[type]:
    """The classes of a module that are its own, without ``nn.Module`` and what it has of torch."""
    for base in kind.__mro__:
        if base is nn.Module:
            return
        yield base


def _cached_properties(kind: type[nn.Module]) -> list[str]:
    return [
        name
        for base in _bases(kind)
        for name, value in vars(base).items()
        if isinstance(value, functools.cached_property)
    ]


def attributes(module: nn.Module) -> list[tuple[str, Any]]:
    """What a module keeps outside of its registries and could reach something through."""
    return [
        (name, value)
        for name, value in vars(module).items()
        if (kind := type(value)) not in _ATOMS
        and not (kind in _CONTAINERS and (not value or (kind is tuple and _ATOMS.issuperset(map(type, value)))))
        and name not in _REGISTRIES
    ]


def _class_attributes(modules: Iterable[nn.Module]) -> Iterator[tuple[str, Any]]:
    for base in dict.fromkeys(base for kind in _by_kind(modules) for base in _bases(kind)):
        for name, value in vars(base).items():
            if not _is_atom(value) and name not in _ABOUT_CLASSES:
                # The entries of a method's cache are found by its arguments, and a copy is another argument.
                yield f"{base.__qualname__}.{name}", value.__wrapped__ if type(value) is _CACHE else value


def _is_atom(value: object) -> bool:
    return type(value) in _ATOMS or isinstance(value, type)


class _Search:
    """Finds what belongs to the original among all that a value reaches, the modules of the copy aside."""

    def __init__(self, copied: Mapping[str, nn.Module], original: Mapping[str, nn.Module]) -> None:
        self._copied, self._original = copied, original
        self._copies = {id(module) for module in copied.values()}
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
        values += [value for _, value in _class_attributes(self._copied.values())]
        return self._found(values) is not None

    def __call__(self, value: object) -> str | None:
        """What of the original this value reaches, in words; None for nothing."""
        return self._found([value])

    def _found(self, values: list[Any]) -> str | None:
        for value in self._reached(values, self._copies):
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
            if type(value) in _ATOMS or isinstance(value, type) or id(value) in seen or id(value) in end:
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
        held = [content for cell in function.__closure__ or () for content in _content(cell)]
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


def _content(cell: types.CellType) -> tuple[object, ...]:
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


class _Mender:
    """Gives, for a value that reaches something of the original, one that reaches the copy instead."""

    def __init__(self, memo: dict[int, Any], search: _Search) -> None:
        self._memo, self._search = memo, search
        self._fresh = {id(value) for value in memo.values()}
        self._made: dict[int, Any] = {}
        self._alive: list[object] = []

    def __call__(self, value: Any) -> Any:
        if _is_atom(value):
            return value
        value = self._memo.get(id(value), value)
        if id(value) in self._made:
            return self._made[id(value)]
        if self._search(value) is None:
            return value
        self._alive.append(value)
        make = next((make for kind, make in self._makers().items() if isinstance(value, kind)), self._other)
        made = make(value)
        self._made[id(value)] = self._made[id(made)] = made
        return made

    def _makers(self) -> dict[Any, Callable[[Any], Any]]:
        return {
            types.FunctionType: self._function,
            types.MethodType: lambda method: types.MethodType(self(method.__func__), self(method.__self__)),
            types.BuiltinMethodType | types.MethodWrapperType: lambda method: getattr(
                self(method.__self__), method.__name__
            ),
            functools.partial: self._partial,
            _CACHE: lambda cache: functools.lru_cache(**cache.cache_parameters())(self(cache.__wrapped__)),
            weakref.WeakMethod: lambda method: weakref.WeakMethod(self(method()), method.__callback__),
            weakref.ref: self._reference,
            _WEAK: self._weak_container,
            frozenset: lambda items: type(items)(map(self, items)),
            tuple: self._tuple,
            nn.Parameter: self._other,
            Tensor: lambda tensor: tensor,  # a view of a parameter, whose copy would keep the numbers of now
        }

    def _function(self, function: types.FunctionType) -> Any:
        compiled = getattr(function, "_torchdynamo_orig_callable", None)
        if compiled is not None and not getattr(function, "_torchdynamo_disable", False):
            return self(compiled)
        cells = [self._made.setdefault(id(cell), types.CellType()) for cell in function.__closure__ or ()]
        made = types.FunctionType(
            function.__code__, function.__globals__, function.__name__, None, tuple(cells) or None
        )
        self._made[id(function)] = made
        for old, new in zip(function.__closure__ or (), cells, strict=True):
            for content in _content(old):
                new.cell_contents = self(content)
        made.__defaults__ = self(function.__defaults__)
        made.__kwdefaults__ = self(function.__kwdefaults__)
        made.__qualname__, made.__module__, made.__doc__ = function.__qualname__, function.__module__, function.__doc__
        made.__annotations__ = function.__annotations__
        vars(made).update({name: self(value) for name, value in vars(function).items()})
        return made

    def _partial(self, old: functools.partial[Any]) -> functools.partial[Any]:
        keywords = {name: self(value) for name, value in old.keywords.items()}
        made = type(old)(self(old.func), *map(self, old.args), **keywords)
        self._made[id(old)] = made
        vars(made).update({name: self(value) for name, value in vars(old).items()})
        return made

    def _reference(self, old: weakref.ref[Any]) -> Any:
        """A weak reference to the copy of its target; one to something outside of the model stays as it is."""
        target = old()
        copied = self._memo.get(id(target), target)
        return old if copied is target else type(old)(copied, self(old.__callback__))

    def _weak_container(self, old: Any) -> Any:
        if isinstance(old, weakref.WeakSet):
            return type(old)([self._memo.get(id(item), item) for item in old])
        if isinstance(old, weakref.WeakKeyDictionary):
            return type(old)([(self._memo.get(id(key), key), self(value)) for key, value in old.items()])
        return type(old)([(self(key), self._memo.get(id(value), value)) for key, value in old.items()])

    def _tuple(self, old: tuple[Any, ...]) -> tuple[Any, ...]:
        items = map(self, old)
        return type(old)(*items) if hasattr(old, "_fields") else type(old)(items)

    def _other(self, value: Any) -> Any:
        """Something that can be changed: a copy, where it is not one yet, and what it holds is mended in place."""
        made = value
        if id(value) not in self._fresh:
            made = copy.deepcopy(value, self._memo)
            self._fresh.update(map(id, self._memo.values()))
            self._alive.append(made)
            if made is value:
                return value  # never copied, so it must not be changed either
        self._made[id(value)] = self._made[id(made)] = made
        if isinstance(made, dict):
            items = [(self(key), self(item)) for key, item in made.items()]
            made.clear()
            for key, item in items:
                made[key] = item
        elif isinstance(made, list | deque):
            for index, item in enumerate(made):
                made[index] = self(item)
        elif isinstance(made, set):
            members = list(map(self, made))
            made.clear()
            made.update(members)
        for name in _fields(made):
            old = getattr(made, name)
            new = self(old)
            if new is not old:
                object.__setattr__(made, name, new)
        return made


def _fields(value: object) -> list[str]:
    """Names of what an object keeps, in its dictionary or in slots."""
    slots = [
        name
        for base in type(value).__mro__
        for name, slot in vars(base).items()
        if isinstance(slot, types.MemberDescriptorType) and hasattr(value, name)
    ]
    return [*getattr(value, "__dict__", {}), *slots]
