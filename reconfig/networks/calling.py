"""A factory called with the arguments of a name, and what is said where they do not fit."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from types import FrameType, ModuleType
from typing import TYPE_CHECKING

from reconfig.errors import NetworkError
from reconfig.networks.failing import failed
from reconfig.networks.name import NetworkName
from reconfig.networks.nearest import listing, nearest

if TYPE_CHECKING:
    from torch import nn

_REFUSED = re.compile(r"(?P<callee>[\w.<>]+)\(\) got an unexpected keyword argument '(?P<key>\w+)'")


def call(name: NetworkName, factory: Callable[..., object]) -> nn.Module:
    """What ``factory`` makes with the arguments of ``name``.

    Raises:
        NetworkError: an argument is missing or not known, the factory raises, or what it makes is no network.
    """
    from torch import nn

    _check(name, factory)
    try:
        made = factory(**name.arguments)
    except NetworkError:
        raise
    except (Exception, SystemExit) as error:
        refused = _refused(name, error) if isinstance(error, TypeError) else None
        raise refused or failed(f"{name} cannot be built", error) from error
    if not isinstance(made, nn.Module):
        raise NetworkError(
            f"{name} gives {type(made).__name__}, not a torch.nn.Module: name what makes the network itself"
        )
    return made


def _check(name: NetworkName, factory: Callable[..., object]) -> None:
    """See that the arguments fit the signature, before anything is run."""
    try:
        signature = inspect.signature(factory)
    except (ValueError, TypeError):  # not every callable has one
        return
    takes = _takes(signature)
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    for key in name.arguments:
        if key not in takes and not open_ended:
            raise _unknown(name, key, takes)
    missing = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and parameter.name not in name.arguments
    ]
    if missing:
        given = "&".join(
            str(NetworkName("a", "b", {key: value})).partition("?")[2] for key, value in name.arguments.items()
        )
        wanted = "&".join([*([given] if given else []), *(f"{key}=..." for key in missing)])
        raise NetworkError(f"{name} needs {listing(missing)}: write '{name.source}:{name.name}?{wanted}'")


def _takes(signature: inspect.Signature) -> list[str]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [parameter.name for parameter in signature.parameters.values() if parameter.kind in named]


def _refused(name: NetworkName, error: TypeError) -> NetworkError | None:
    """What to say where something that the factory calls does not take an argument of ours."""
    match = _REFUSED.search(str(error))
    if match is None or match["key"] not in name.arguments:
        return None
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    callee = _called(match["callee"].removesuffix(".__init__"), trace.tb_frame) if trace is not None else None
    return _unknown(name, match["key"], _takes(inspect.signature(callee)) if callee is not None else ())


def _called(qualified: str, frame: FrameType) -> Callable[..., object] | None:
    """What the frame called under this name, as its error message has it; of its own names, or of a module's in it."""
    for value in (*frame.f_locals.values(), *frame.f_globals.values()):
        found = getattr(value, qualified, None) if isinstance(value, ModuleType) else value
        if callable(found) and getattr(found, "__qualname__", None) == qualified:
            return found
    return None


def _unknown(name: NetworkName, key: str, takes: Iterable[str]) -> NetworkError:
    known = list(takes)
    near = nearest(key, known)
    plain = f"{name.source}:{name.name}"
    if not near:
        return NetworkError(
            f"{plain} takes no argument {key!r}" + (f"; it takes {listing(known)}" if known else ": leave it out")
        )
    arguments = {near[0] if own == key else own: value for own, value in name.arguments.items()}
    corrected = str(NetworkName(name.source, name.name, arguments))
    return NetworkError(f"{plain} takes no argument {key!r}; the nearest are {', '.join(near)}: write {corrected!r}")
