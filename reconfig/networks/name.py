"""The name of a network as text, and as data."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NoReturn
from urllib.parse import unquote

from reconfig.errors import NetworkError

LIBRARIES = ("timm", "torchvision", "zoo", "hub")
"""Sources that are no module or file of the user's."""

_EXAMPLE = "a network reads like timm:resnet50, 'zoo:wrn?depth=28&widen=4', package.module:Factory or file.py:Net"


@dataclass(frozen=True)
class NetworkName:
    """Where a network comes from, and what it is made with.

    Attributes:
        source: one of ``LIBRARIES``, or a module ("models.resnet"), or a file ("models/resnet.py").
        name: what is called there; of the hub, "owner/repo:name" or "folder:name".
        arguments: keyword arguments, of Python's literals.

    Raises:
        NetworkError: an argument cannot be spelled.
    """

    source: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, value in self.arguments.items():
            if not key.isidentifier():
                raise NetworkError(f"{key!r} is no name of an argument, as depth is in 'zoo:wrn?depth=28&widen=4'")
            if not _same(_read(_show(value)), value):
                raise NetworkError(
                    f"{key}={value!r} cannot be spelled: an argument is a number, boolean, None, text, or a list, "
                    "tuple or dict of these"
                )
        object.__setattr__(self, "arguments", MappingProxyType(dict(self.arguments)))

    @classmethod
    def parse(cls, text: str) -> NetworkName:
        """The name that ``text`` spells; ``str`` gives the text back.

        Values read as Python's literals or JSON's, and as text where they are neither. As in an address, ``%26`` is an
        ``&`` within a value, and ``%25`` a ``%``.

        Raises:
            NetworkError: the text is no such name; the message says what is wrong and how it is written.
        """
        path, _, query = text.partition("?")
        first, colon, rest = path.partition(":")
        source, name = (first, rest) if first in LIBRARIES else (path.rpartition(":")[0], path.rpartition(":")[2])
        if not (source and name):
            return _no_source(text, path, bool(colon))
        if source == "hub" and not all(name.rpartition(":")):
            raise NetworkError(f"{text!r} does not say which network of the repository: write hub:owner/repo:name")
        return cls(source, name, _arguments(text, query))

    @property
    def is_file(self) -> bool:
        """Whether the source is a file."""
        return self.source.endswith(".py") or "/" in self.source or "\\" in self.source

    def __str__(self) -> str:
        query = "&".join(f"{key}={_show(value)}" for key, value in self.arguments.items())
        return f"{self.source}:{self.name}{'?' if query else ''}{query}"

    def __hash__(self) -> int:
        return hash(str(self))


def _no_source(text: str, path: str, colon: bool) -> NoReturn:
    if path.strip(":") == "":
        raise NetworkError(f"{text!r} names no network: {_EXAMPLE}")
    if path.endswith((".py", ".py:")):
        raise NetworkError(f"{text!r} does not say what to call in the file: write {path.rstrip(':')}:Net")
    name = path.strip(":")
    if name in LIBRARIES or (colon and path.endswith(":")):
        raise NetworkError(f"{text!r} does not say which network of {name}: write {name}:NAME; {_EXAMPLE}")
    raise NetworkError(f"{text!r} does not say where {name} comes from: write timm:{name} or zoo:{name}; {_EXAMPLE}")


def _arguments(text: str, query: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in query.split("&") if query else ():
        key, equals, value = item.partition("=")
        if not equals or not key.isidentifier():
            raise NetworkError(
                f"{item!r} in {text!r} is no argument: arguments read like ?depth=28&widen=4, with %26 for an & in a "
                "value"
            )
        if key in found:
            raise NetworkError(f"{text!r} gives {key} twice: leave one out")
        found[key] = _read(value)
    return found


def _read(text: str) -> Any:
    plain = unquote(text)
    try:
        return ast.literal_eval(plain)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    try:
        return json.loads(plain, parse_constant=lambda name: name)
    except (ValueError, RecursionError):
        return plain


def _show(value: Any) -> str:
    plain = value if isinstance(value, str) and _read(_escaped(value)) == value else repr(value)
    return _escaped(plain)


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("&", "%26")


def _same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and repr(left) == repr(right)
