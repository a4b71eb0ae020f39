"""The modules and tensors of a network under all of their names, and how code within one module reaches another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator
from functools import cached_property

from torch import Tensor, nn

from reconfig.export.code.values import attribute
from reconfig.trace.skeleton import modules_of


class Tree:
    """A network's modules by their first names."""

    def __init__(self, model: nn.Module) -> None:
        self.modules = modules_of(model)

    @cached_property
    def module_names(self) -> dict[str, list[str]]:
        """All names of each module, by its first."""
        first = {id(module): path for path, module in self.modules.items()}
        found: dict[str, list[str]] = defaultdict(list)
        for path, module in self.modules[""].named_modules(remove_duplicate=False):
            found[first[id(module)]].append(path)
        return found

    @cached_property
    def tensor_names(self) -> dict[str, list[str]]:
        """All names of each parameter, buffer and tensor attribute, by its first."""
        found: dict[int, list[str]] = defaultdict(list)
        for path, module in self.modules[""].named_modules(remove_duplicate=False):
            for name, tensor in kept_tensors(module):
                found[id(tensor)].append(f"{path}.{name}" if path else name)
        return {names[0]: names for names in found.values()}

    def shared(self, kept: Container[str]) -> dict[str, str]:
        """The further names of what has several, with the first; of those in ``kept``."""
        return {name: names[0] for names in self.tensor_names.values() for name in names[1:] if name in kept}

    def module_from(self, scope: str, path: str) -> str | None:
        """How the module ``path`` is reached from within ``scope``: "self.conv1"; None where it is not below."""
        return self._reached(scope, self.module_names[path])

    def tensor_from(self, scope: str, name: str) -> str | None:
        """How the tensor ``name`` is reached from within ``scope``; None where it is not below."""
        return self._reached(scope, self.tensor_names[name])

    def _reached(self, scope: str, names: list[str]) -> str | None:
        for inside in self.module_names[scope]:
            prefix = f"{inside}." if inside else ""
            for name in names:
                if name == inside or name.startswith(prefix):
                    return self.access(inside, name)
        return None

    def access(self, scope: str, name: str) -> str:
        """The expression for what has this name, within the module ``scope`` above it."""
        text, module = "self", self.modules[""].get_submodule(scope)
        parts = name.removeprefix(f"{scope}." if scope else "").split(".") if name != scope else []
        for part in parts:
            step = attribute(part)
            if step.startswith("[") and not numbered(module):
                text = f'getattr({text}, "{part}")'
            else:
                text += step
            module = module._modules.get(part) or module
        return text


def numbered(module: nn.Module) -> bool:
    """Whether a module is a list of modules, and has no others."""
    return isinstance(module, nn.Sequential | nn.ModuleList) and list(module._modules) == list(
        map(str, range(len(module._modules)))
    )


def is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module is of this kind of container, with no forward of its own."""
    return isinstance(module, kind) and type(module).forward is nn.Module.forward and not module._parameters


def kept_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, buffers and tensors among the plain attributes of a module."""
    for registry in (module._parameters, module._buffers, vars(module)):
        for name, tensor in registry.items():
            if isinstance(tensor, Tensor):
                yield name, tensor
