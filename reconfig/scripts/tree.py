"""The networks of a process: which module is part of which, and which has convolutions."""

from __future__ import annotations

import gc
from collections.abc import Callable, Container, Iterator

from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from reconfig.scripts.adopt import adopted

_WRAPPED = ("module", "_orig_mod")  # what DataParallel and its kin, and torch.compile, call what they wrap


def outermost(module: nn.Module, unfinished: Container[int]) -> nn.Module:
    """The module that ``module`` is a part of, through all that hold it, up to where there is none or are several.

    Args:
        module: is looked for in all modules of the process.
        unfinished: identities of modules that are not whole yet.
    """
    parents: dict[int, dict[int, nn.Module]] = {}
    for item in gc.get_objects():
        if issubclass(type(item), nn.Module) and id(item) not in unfinished:
            for child in vars(item).get("_modules", {}).values():
                parents.setdefault(id(child), {})[id(item)] = item
    seen = {id(module)}
    while len(above := parents.get(id(module), {})) == 1:
        (parent,) = above.values()
        if id(parent) in seen:
            break
        seen.add(id(parent))
        module = parent
    return module


def unwrapped(module: nn.Module) -> nn.Module:
    """What is inside torch's own wrappers."""
    while type(module).__module__.startswith("torch."):
        inner = next((vars(module)["_modules"][name] for name in _WRAPPED if name in vars(module)["_modules"]), None)
        if inner is None:
            break
        module = inner
    return module


def only_part(module: nn.Module) -> nn.Module | None:
    """The child that has all parameters and buffers of ``module``; None where there is no such one."""
    if any(True for _ in module.parameters(recurse=False)) or any(True for _ in module.buffers(recurse=False)):
        return None
    filled = [child for child in module.children() if next(child.parameters(), None) is not None]
    return filled[0] if len(filled) == 1 else None


def parts(module: nn.Module, wanted: Callable[[nn.Module], bool]) -> Iterator[nn.Module]:
    """The outermost modules in ``module``, itself among them, that are ``wanted``; each once."""
    seen: set[int] = set()
    waiting = [module]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if wanted(part):
            yield part
        else:
            waiting += reversed(list(part.children()))


def convolutional(module: nn.Module) -> bool:
    """Whether there are convolutions in ``module`` outside of networks that were rewritten."""
    convolutions = (part for part in parts(module, lambda part: bool(adopted(part)) or _convolves(part)))
    return any(not adopted(part) for part in convolutions)


def _convolves(module: nn.Module) -> bool:
    own = [parameter for parameter in vars(module)["_parameters"].values() if parameter is not None]
    return any(isinstance(module, _ConvNd) or is_lazy(parameter) or parameter.dim() in (4, 5) for parameter in own)


def has_parameters(module: nn.Module) -> bool:
    """Whether it has any parameter."""
    return any(parameter is not None for part in module.modules() for parameter in vars(part)["_parameters"].values())


def has_lazy(module: nn.Module) -> bool:
    """Whether some of it gets its shape in the first forward."""
    return any(is_lazy(parameter) for parameter in module.parameters())
