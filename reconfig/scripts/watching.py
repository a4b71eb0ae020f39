"""The places in torch where a search looks on; all that is put into torch is put there by this module."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from reconfig.scripts.search import Search

_USES = {  # methods of nn.Module that bind others to its parameters, and what a user calls that
    "_apply": "when it is moved or converted",
    "named_parameters": "when its parameters are read",
    "state_dict": "when its state is read",
    "apply": "when a function is applied to its modules",
    "__reduce_ex__": "when it is copied or pickled",
}


def watch(search: Search) -> None:
    """Let ``search`` see every module that is made or used from now on, in this process, and the steps of optimizers.

    The methods of ``nn.Module`` stay what they are and give what they gave; nothing is done while a graph is compiled.
    """
    for name, how in _USES.items():
        _before(name, _used(search, how))
    _before("load_state_dict", _loads(search))
    _before("__init__", _begins(search))
    if search.has_chosen:
        _see_classes(search)
    register_optimizer_step_pre_hook(lambda optimizer, args, kwargs: search.steps(optimizer))


def _before(name: str, look: Callable[..., None]) -> None:
    """Let ``look`` see the arguments of a method of ``nn.Module`` before it is called."""
    method = getattr(nn.Module, name)

    @functools.wraps(method)
    def watched(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not torch.compiler.is_compiling():
            look(self, *args, **kwargs)
        return method(self, *args, **kwargs)

    setattr(nn.Module, name, watched)


# Plain functions: where a compiled function makes or uses a module, torch.compile can read them, and no methods.


def _begins(search: Search) -> Callable[..., None]:
    def look(module: nn.Module, *args: Any, **kwargs: Any) -> None:
        search.begins(module)

    return look


def _used(search: Search, how: str) -> Callable[..., None]:
    def look(module: nn.Module, *args: Any, **kwargs: Any) -> None:
        search.used(module, how)

    return look


def _loads(search: Search) -> Callable[..., None]:
    def look(module: nn.Module, *args: Any, **kwargs: Any) -> None:
        state = args[0] if args else kwargs.get("state_dict")
        if state is not None:
            search.loads(module, state)

    return look


def _see_classes(search: Search) -> None:
    """Let ``search`` see every network of the class that the user named when its ``__init__`` has returned."""

    def __init_subclass__(cls: type[nn.Module], /, **kwargs: Any) -> None:  # noqa: N807
        super(nn.Module, cls).__init_subclass__(**kwargs)
        if "__init__" in vars(cls) and search.is_chosen_class(cls):
            _after_init(cls, search)

    nn.Module.__init_subclass__ = classmethod(__init_subclass__)  # type: ignore[assignment]


def _after_init(kind: type[nn.Module], search: Search) -> None:
    init = kind.__init__

    @functools.wraps(init)
    def __init__(self: nn.Module, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        init(self, *args, **kwargs)
        if type(self) is kind:  # not that of a class which is derived from it
            search.made(self)

    kind.__init__ = __init__  # type: ignore[method-assign]
