"""Who called: places in code, as the stack has them."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType

import torch

from reconfig.scripts.program import Program

_PACKAGE = Path(__file__).resolve().parent.parent
_INSTALLED_IN = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
_LIBRARIES = tuple(
    folder + os.sep for folder in (str(_PACKAGE), os.path.dirname(torch.__file__), *dict.fromkeys(_INSTALLED_IN))
)
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


@dataclass(frozen=True)
class Place:
    """A line of code.

    Attributes:
        file, line: where it is.
        function: the qualified name of what it is in; "" at the level of the module.
    """

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        here = os.getcwd() + os.sep
        return f"{self.file.removeprefix(here)}:{self.line}"


def stack(frame: FrameType | None) -> Iterator[FrameType]:
    """``frame``, what called it, and so on, up to what we run the script by."""
    while frame is not None and frame.f_code is not Program.execute.__code__:
        yield frame
        frame = frame.f_back


def place_of(frame: FrameType) -> Place:
    """Where a frame is."""
    code = frame.f_code
    function = "" if code.co_name == "<module>" else code.co_qualname
    return Place(code.co_filename, frame.f_lineno, function)


def is_own_code(frame: FrameType) -> bool:
    """Whether the code of a frame is the user's: of no library."""
    return _is_own_file(frame.f_code.co_filename)


@cache
def _is_own_file(file: str) -> bool:
    library = file.startswith(_LIBRARIES) or any(folder in file for folder in _INSTALLED)
    return not (library or file.startswith("<"))


def caller() -> Place | None:
    """The innermost line of the user's that leads here."""
    return next((place_of(frame) for frame in stack(sys._getframe(1)) if is_own_code(frame)), None)


def in_main(frame: FrameType) -> bool:
    """Whether a frame is of the script itself."""
    return frame.f_globals.get("__name__") in ("__main__", "__mp_main__") and is_own_code(frame)
