"""What a user names as the one who makes the network: a class, or a function."""

from __future__ import annotations

import inspect
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from reconfig.errors import ScriptError

if TYPE_CHECKING:
    from torch import nn

_MAIN = ("__main__", "__mp_main__")  # the latter in a process that the script spawned


@dataclass(frozen=True)
class Chosen:
    """``source:name``, a class or a function.

    Attributes:
        source: a module, as the script imports it, or a file; the script itself is named by its file.
        name: the class's or the function's name in it.
    """

    source: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Chosen:
        """What ``--model`` says.

        Raises:
            ScriptError: it does not name a module and what is in it.
        """
        source, _, name = text.rpartition(":")
        if not source or not all(part.isidentifier() for part in name.split(".")):
            raise ScriptError(
                f"--model {text} does not say where the class or function is: write models.resnet:ResNet18, with the "
                f"module as the script imports it, or train.py:{name or 'Net'}"
            )
        if _is_file(source) and not Path(source).is_file():
            raise ScriptError(f"--model {text}: there is no file {source}; name one as in train.py:{name}, from here")
        return cls(os.path.realpath(source) if _is_file(source) else source, name)

    def __str__(self) -> str:
        return f"{self.source.removeprefix(os.getcwd() + os.sep)}:{self.name}"

    def is_kind(self, kind: type) -> bool:
        """Whether this is the class ``kind``, under the name that it was defined or imported by."""
        if kind.__qualname__ == self.name and self._is_source(kind.__module__):
            return True
        return self._target() is kind

    def is_made_by(self, frame: FrameType) -> bool:
        """Whether ``frame`` is a call of this function."""
        code = frame.f_code
        if code.co_qualname == self.name and self._is_source(frame.f_globals.get("__name__", "")):
            return True
        target = self._target()
        if target is None or isinstance(target, type) or code.co_name != getattr(target, "__name__", ""):
            return False
        return getattr(inspect.unwrap(target), "__code__", None) is code

    def _is_source(self, module: str) -> bool:
        if _is_file(self.source):
            file = getattr(sys.modules.get(module), "__file__", None)
            return file is not None and os.path.realpath(file) == self.source
        spec = getattr(sys.modules.get(module), "__spec__", None) if module in _MAIN else None
        own = spec.name if spec is not None else "__main__" if module in _MAIN else module
        return self.source in (own, own.removesuffix(".__main__"))

    def _target(self) -> Any:
        """What the name means in the module where it was looked for; None where that is not imported yet."""
        found: Any = None if _is_file(self.source) else sys.modules.get(self.source)
        for part in self.name.split("."):
            found = getattr(found, part, None)
        return found


def choice_of(module: nn.Module) -> Chosen:
    """How the class of ``module`` is named."""
    kind = type(module)
    source = kind.__module__
    if source in _MAIN:
        file = getattr(sys.modules.get(source), "__file__", None)
        source = os.path.realpath(file) if file else "__main__"
    return Chosen(source, kind.__qualname__)


def _is_file(source: str) -> bool:
    return source.endswith(".py") or os.sep in source or Path(source).is_file()
