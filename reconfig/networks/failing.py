"""What somebody else's code raised, in a sentence: what, and where."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

from reconfig.errors import NetworkError

_OURS = Path(__file__).parent
_INSTALLED = ("site-packages", "dist-packages")


def failed(what: str, error: BaseException) -> NetworkError:
    """``what`` went wrong, with what was raised, and the line of the user's code and the innermost one."""
    if isinstance(error, SystemExit):
        return NetworkError(
            f"{what}: it ends the program (SystemExit: {error.code}){_where(error)}; put what it does as a script "
            "under `if __name__ == '__main__':`"
        )
    way = f"; pip install {error.name}" if isinstance(error, ModuleNotFoundError) and error.name else ""
    return NetworkError(f"{what}: {type(error).__name__}: {error}{_where(error)}{way}")


def _where(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return ""  # its own words have the place
    frames = [
        (Path(frame.filename), frame.lineno)
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and _OURS not in Path(frame.filename).parents
    ]
    if not frames:
        return ""
    own = [frame for frame in frames if not _installed(frame[0])]
    places = dict.fromkeys([*own[-1:], frames[-1]])
    return " at " + ", in ".join(f"{_shown(path)}:{line}" for path, line in places)


def _installed(path: Path) -> bool:
    """Whether a file is of a library, Python's own among them."""
    return bool({*_INSTALLED} & {*path.parts}) or Path(sysconfig.get_path("stdlib")) in path.parents


def _shown(path: Path) -> Path:
    """A library's file by its path within the library, another by its path from here where it lies below."""
    for number, part in enumerate(path.parts):
        if part in _INSTALLED:
            return Path(*path.parts[number + 1 :])
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
