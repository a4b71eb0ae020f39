"""Part a copy of a model from its original: nothing that the copy reaches may be the caller's.

``copy.deepcopy`` shares functions, weak references and whatever its class says is never copied. Through a closure, a
compiled call or a cache the copy would then run, train or change the caller's network. What can be made anew is: bound
methods, partials, functions whose cells hold a part of the model, weak references, function caches (empty). A compiled
function gives way to what it was compiled from. What remains is refused, before anything of the model runs.
"""

from __future__ import annotations

import copy
import functools
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from reconfig.errors import ModelError
from reconfig.trace.reach import (
    FUNCTION_CACHE,
    Search,
    attributes,
    by_kind,
    class_attributes,
    contents_of,
    is_atom,
    own_bases,
)

_WEAK = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet)
_REMEDY = "remove the attribute before reconfig.apply, and set it on the result"


def separate(
    copied: Mapping[str, nn.Module],
    original: Mapping[str, nn.Module],
    memo: dict[int, Any],
    around: Iterable[nn.Module] = (),
) -> None:
    """Make the modules of a deep copy independent of the original's, in place.

    Compiled calls (``Module.compile``) and values of cached properties stay behind, as they can be made again.

    Args:
        copied: modules of the copy, by name.
        original: modules of the original, by name; only read.
        memo: what the deepcopy entered its copies into, by the ids of their originals.
        around: modules that the copy shares with the original, of the network that both are parts of.

    Raises:
        ModelError: where something of the original would still be reached; it names the attribute and the remedy.
    """
    for module in copied.values():
        vars(module).pop("_compiled_call_impl", None)
    for kind, modules in by_kind(copied.values()).items():
        for name in _cached_properties(kind):
            for module in modules:
                vars(module).pop(name, None)
    search = Search(copied, original, around)
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
                    raise cannot_copy(where, value, error) from error
                found = search(mended)
                if found is not None:
                    raise ModelError(f"{_described(where, value)} {found}; {_REMEDY}")
    for where, value in class_attributes(copied.values()):
        found = search(value)
        if found is not None:
            raise ModelError(
                f"{_described(where, value)} {found}, and copies share their class: "
                "keep it in the instance (self), or remove it before reconfig.apply"
            )


def cannot_copy(where: str, value: object, error: Exception) -> ModelError:
    """The error for an attribute that ``copy.deepcopy`` fails on."""
    return ModelError(f"{_described(where, value)} cannot be copied: {error}; {_REMEDY}")


def _described(where: str, value: object) -> str:
    return f"{where!r} (a {type(value).__name__})"


def _cached_properties(kind: type[nn.Module]) -> list[str]:
    return [
        name
        for base in own_bases(kind)
        for name, value in vars(base).items()
        if isinstance(value, functools.cached_property)
    ]


class _Mender:
    """Gives, for a value that reaches something of the original, one that reaches the copy instead."""

    def __init__(self, memo: dict[int, Any], search: Search) -> None:
        self._memo, self._search = memo, search
        self._fresh = {id(value) for value in memo.values()}
        self._made: dict[int, Any] = {}
        self._alive: list[object] = []

    def __call__(self, value: Any) -> Any:
        if is_atom(value):
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
            FUNCTION_CACHE: lambda cache: functools.lru_cache(**cache.cache_parameters())(self(cache.__wrapped__)),
            weakref.WeakMethod: lambda method: weakref.WeakMethod(self(method())),  # whom its end is told knows no copy
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
            for content in contents_of(old):
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
