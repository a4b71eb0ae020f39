"""Modules as expressions and classes: one class for all that are alike but for numbers, which become its arguments."""

from __future__ import annotations

import keyword
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, count, groupby

import torch
from torch import Tensor, nn

from reconfig.export.code.constants import constant
from reconfig.export.code.forwards import Forward, Forwards
from reconfig.export.code.layers import layer, needed
from reconfig.export.code.text import Hole, Text, hole, joined
from reconfig.export.code.tree import is_plain, kept_tensors, numbered
from reconfig.export.code.values import literal

_RESERVED = {"torch", "nn", "F", "math", "load", "Path", "OrderedDict", "WEIGHTS", "base64", "zlib"}
_MEMBERS = frozenset(dir(nn.Module()))
_REPEATED = 3  # alike, and they are written as a loop


@dataclass(frozen=True)
class Class:
    """A class of modules.

    Attributes:
        name: its name in the file.
        base: the class above.
        like: the class that it stands for, with its module.
        parameters: what its constructor takes.
        kept: which of them its forward reads.
        init: the lines of its constructor.
        forward: its forward's arguments and lines; None where it is never called.
    """

    name: str
    base: str
    like: str
    parameters: tuple[str, ...]
    kept: tuple[str, ...]
    init: tuple[str, ...]
    forward: tuple[tuple[str, ...], tuple[str, ...]] | None


@dataclass(frozen=True)
class _Draft:
    """A module as a class, before it is known what others of its kind have in common with it."""

    path: str
    init: tuple[Text, ...]
    forward: Forward | None

    @property
    def frame(self) -> object:
        forward = self.forward and (self.forward.arguments, tuple(line.frame for line in self.forward.lines))
        return tuple(line.frame for line in self.init), forward

    @property
    def texts(self) -> tuple[Text, ...]:
        return (*self.init, *(self.forward.lines if self.forward else ()))


def classes(found: Forwards) -> tuple[Class, ...]:
    """The classes of a network, those that others are made of first; the last is the network's own.

    Raises:
        ExportError: where something in it has no text.
    """
    return _Classes(found).written()


class _Classes:
    def __init__(self, found: Forwards) -> None:
        self._found = found
        self._tree = found.tree
        self._expressions: dict[int, Text] = {}
        self._names: set[str] = set(_RESERVED)
        self._settings = self._common_settings()

    def written(self) -> tuple[Class, ...]:
        made: list[Class] = []
        by_height = sorted(self._heights().items(), key=lambda item: item[1])
        for _, group in groupby(by_height, key=lambda item: item[1]):
            drafts: dict[object, list[_Draft]] = defaultdict(list)
            for path, _ in group:
                module = self._tree.modules[path]
                expression = self._expression(path, module)
                if expression is not None:
                    self._expressions[id(module)] = expression
                else:
                    draft = _Draft(path, self._init(path, module), self._found.methods.get(path))
                    drafts[type(module), draft.frame].append(draft)
            made += [self._class(alike) for alike in drafts.values()]
        return tuple(made)

    def _heights(self) -> dict[str, int]:
        """How many levels of modules each has below it."""
        heights: dict[int, int] = {}

        def height(module: nn.Module) -> int:
            if id(module) not in heights:
                heights[id(module)] = 0
                heights[id(module)] = 1 + max(map(height, filter(None, module._modules.values())), default=-1)
            return heights[id(module)]

        return {path: height(module) for path, module in self._found.written.items()}

    def _common_settings(self) -> dict[str, set[str]]:
        """Which settings of each layer are written: those that one in its place has by another than the default."""
        places: dict[object, list[str]] = defaultdict(list)
        for path in self._found.layers:
            above, _, name = path.rpartition(".")
            parent = type(self._tree.modules[above]) if path else None
            places[parent, name, type(self._tree.modules[path])].append(path)
        common: dict[str, set[str]] = {}
        for paths in places.values():
            names = set().union(*(needed(self._tree.modules[path], self._found.layers[path]) for path in paths))
            common |= dict.fromkeys(paths, names)
        return common

    # -- expressions ------------------------------------------------------------------------------------------------

    def _expression(self, path: str, module: nn.Module) -> Text | None:
        """What makes a module that needs no class of its own; None where it does."""
        if path == "":
            return None
        if path in self._found.layers:
            made = self._found.layers[path]
            return layer(module, {name: value for name, value in made.items() if name in self._settings[path]})
        children = [(name, self._child(path, name, child)) for name, child in module._modules.items() if child]
        if path in self._found.sequences and numbered(module):
            return "nn.Sequential(" + joined(_repeated([text for _, text in children])) + ")"
        if path in self._found.sequences and all(map(_is_name, dict(children))):
            return "nn.Sequential(OrderedDict(" + joined(f"{name}=" + text for name, text in children) + "))"
        if is_plain(module, nn.ModuleList) and numbered(module):
            return "nn.ModuleList([" + joined(_repeated([text for _, text in children])) + "])"
        if is_plain(module, nn.ModuleDict):
            return "nn.ModuleDict({" + joined(f'"{name}": ' + text for name, text in children) + "})"
        return None

    def _child(self, path: str, name: str, child: nn.Module) -> Text:
        """A child's expression; of one that another module holds too, a stand-in until both are there."""
        full = f"{path}.{name}" if path else name
        if self._tree.modules.get(full) is not child and any(child.state_dict()):
            return Text("nn.Identity()")
        return self._expressions[id(child)].hinted(name)

    def _init(self, path: str, module: nn.Module) -> tuple[Text, ...]:
        lines = [self._super(path, module)]
        for name, child in module._modules.items():
            if child is not None and not numbered(module):
                made = self._child(path, name, child)
                lines.append(f"self.{name} = " + made if _is_name(name) else f'self.add_module("{name}", ' + made + ")")
        for name, tensor in kept_tensors(module):
            lines += self._tensor(path, module, name, tensor)
        return (*lines, *(self._shared() if path == "" else ()))

    def _super(self, path: str, module: nn.Module) -> Text:
        """The call of the constructor above, which makes the members of a list."""
        if not numbered(module):
            return Text("super().__init__()")
        members = joined(
            _repeated([self._child(path, name, child) for name, child in module._modules.items() if child])
        )
        return (
            "super().__init__([" + members + "])"
            if isinstance(module, nn.ModuleList)
            else "super().__init__(" + members + ")"
        )

    def _tensor(self, path: str, module: nn.Module, name: str, tensor: Tensor) -> Iterable[Text]:
        full = f"{path}.{name}" if path else name
        if name in module._parameters:
            frozen = "" if tensor.requires_grad else ", requires_grad=False"
            made = "nn.Parameter(" + _zeros(tensor) + frozen + ")"
            plainly = _is_name(name)
            yield (f"self.{name} = " + made if plainly else f'self.register_parameter("{name}", ' + made + ")").hinted(
                name
            )
        elif name in module._buffers and name not in module._non_persistent_buffers_set:
            yield (f'self.register_buffer("{name}", ' + _zeros(tensor) + ")").hinted(name)
        elif name in module._buffers or full in self._found.used:
            yield (f'self.register_buffer("{name}", ' + constant(tensor) + ", persistent=False)").hinted(name)

    def _shared(self) -> Iterable[Text]:
        """What modules have in common, put in its second places once all are made."""
        for path, names in self._tree.module_names.items():
            module = self._tree.modules[path]
            if any(module.state_dict()):
                above = [name for name in names[1:] if not _within(name, self._tree.module_names)]
                for name in above:
                    yield Text(f"{self._tree.access('', name)} = {self._tree.access('', path)}")
        inside = {name for names in self._tree.module_names.values() for name in names[1:]}
        for first, names in self._tree.tensor_names.items():
            for name in names[1:]:
                if name.rpartition(".")[0] not in inside:
                    yield Text(f"{self._tree.access('', name)} = {self._tree.access('', first)}")

    # -- classes ----------------------------------------------------------------------------------------------------

    def _class(self, alike: list[_Draft]) -> Class:
        """The class of modules with one frame; their expressions are entered."""
        kind = type(self._tree.modules[alike[0].path])
        name = self._class_name(kind.__name__)
        columns = list(zip(*([value for text in draft.texts for value in text.holes] for draft in alike), strict=True))
        words: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
        for column in columns:
            values = tuple(value.text for value in column)
            if len(set(values)) > 1:
                words.setdefault(values, []).append(column[0].hint)
        named = dict(
            zip(words, _parameter_names([hints[0] for hints in words.values()], self._members(alike[0])), strict=True)
        )
        position = 0

        def filled(texts: Iterable[Text], prefix: str) -> tuple[tuple[str, ...], list[str]]:
            nonlocal position
            used: list[str] = []

            def write(_: int, value: Hole) -> str:
                nonlocal position
                parameter = named.get(tuple(each.text for each in columns[position]))
                position += 1
                if parameter is None:
                    return value.text
                used.append(parameter)
                return prefix + parameter

            return tuple(text.filled(write) for text in texts), used

        init, _ = filled(alike[0].init, "")
        forward = alike[0].forward
        lines, kept = filled(forward.lines if forward else (), "self.")
        for index, draft in enumerate(alike):
            arguments = [hole(values[index], parameter) for values, parameter in named.items()]
            self._expressions[id(self._tree.modules[draft.path])] = f"{name}(" + joined(arguments) + ")"
        return Class(
            name=name,
            base=_base(self._tree.modules[alike[0].path]),
            like=f"{kind.__module__}.{kind.__qualname__}",
            parameters=tuple(named.values()),
            kept=tuple(parameter for parameter in named.values() if parameter in kept),
            init=init,
            forward=(forward.arguments, lines) if forward else None,
        )

    def _members(self, draft: _Draft) -> set[str]:
        module = self._tree.modules[draft.path]
        return {*_MEMBERS, *module._modules, *module._parameters, *module._buffers, *vars(module), *_RESERVED}

    def _class_name(self, name: str) -> str:
        name = name if _is_name(name) else "Network"
        stem = f"{name}_" if name[-1].isdigit() else name
        free = next(
            text for text in chain([name], (f"{stem}{number}" for number in count(2))) if text not in self._names
        )
        self._names.add(free)
        return free


def _base(module: nn.Module) -> str:
    if not numbered(module):
        return "nn.Module"
    return "nn.ModuleList" if isinstance(module, nn.ModuleList) else "nn.Sequential"


def _within(name: str, names: dict[str, list[str]]) -> bool:
    """Whether a second name of a module follows from a second name of a module above it."""
    above = name.rpartition(".")[0]
    while above:
        if any(above in some[1:] for some in names.values()):
            return True
        above = above.rpartition(".")[0]
    return False


def _repeated(texts: list[Text]) -> list[Text]:
    """The same list, what is there several times in a row as a loop."""
    parts: list[Text] = []
    for text, group in groupby(texts):
        times = len(list(group))
        if times >= _REPEATED:
            parts.append("*(" + text + f" for _ in range({times}))")
        else:
            parts += [text] * times
    return parts


def _zeros(tensor: Tensor) -> Text:
    shape = literal(tuple(tensor.shape) if tensor.dim() != 1 else tensor.shape[0]).hinted("width")
    dtype = "" if tensor.dtype is torch.float32 else f", dtype={tensor.dtype}"
    return "torch.zeros(" + shape + dtype + ")"


def _parameter_names(hints: list[tuple[str, ...]], taken: set[str]) -> list[str]:
    """A name for each, as short as tells it from the others."""
    names: list[str] = []
    for hint in hints:
        words = [re.sub(r"\W", "_", word) for word in hint] or ["value"]
        candidates = ["_".join(words[-length:]) for length in range(1, len(words) + 1)]
        candidates = [text for text in candidates if text.isidentifier() and not keyword.iskeyword(text)]
        longest = candidates[-1] if candidates else "value"
        numbered = (f"{longest}_{number}" for number in count(2))
        names.append(next(text for text in chain(candidates, numbered) if text not in taken and text not in names))
    return names


def _is_name(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)
