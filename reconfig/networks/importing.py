"""Modules and files of the user's, imported where they lie."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from reconfig.errors import NetworkError
from reconfig.networks.name import NetworkName


@contextmanager
def in_path(folder: Path) -> Iterator[None]:
    """Within, modules are looked for in ``folder`` first."""
    before = list(sys.path)
    sys.path[:] = [str(folder), *before]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def import_module(name: NetworkName, meant: str) -> ModuleType:
    """The module of ``name``; ``meant`` is what to write where there is none.

    Raises:
        NetworkError: it is missing, or raises.
    """
    try:
        return importlib.import_module(name.source)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name.source == missing or name.source.startswith(missing + "."):
            way = (
                meant
                or f"install what has {missing}, run from its folder, or name a file, as in path/to/file.py:{name.name}"
            )
            raise NetworkError(f"no module {missing!r} for {str(name)!r}: {way}") from error
        raise failed(f"{name.source} cannot be imported", error) from error
    except (Exception, SystemExit) as error:
        raise failed(f"{name.source} cannot be imported", error) from error


def import_file(path: Path) -> ModuleType:
    """The module in a file, under the name that it has where it lies: of a package, its relative imports work.

    Raises:
        NetworkError: it is missing, or raises.
    """
    if not path.is_file():
        raise NetworkError(f"there is no file {path}: a network in a file reads like path/to/file.py:Net")
    folder, name = path.resolve().parent, path.stem
    while (folder / "__init__.py").is_file():
        folder, name = folder.parent, f"{folder.name}.{name}"
    with in_path(folder):
        try:
            return _load(path.resolve(), name)
        except (Exception, SystemExit) as error:
            raise failed(f"{path} cannot be imported", error) from error


def _load(path: Path, name: str) -> ModuleType:
    parent = name.rpartition(".")[0]
    if parent:
        importlib.import_module(parent)
    known = sys.modules.get(name)
    if known is not None:
        if getattr(known, "__file__", None) == str(path):
            return known
        name += "_" + sha256(str(path).encode()).hexdigest()[:8]  # another module has the name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def failed(what: str, error: BaseException) -> NetworkError:
    """``what``, with what was raised and where."""
    if isinstance(error, SystemExit):
        return NetworkError(
            f"{what}: it ends the program (SystemExit: {error.code}){_where(error)}; put what it does as a script under "
            "`if __name__ == '__main__':`"
        )
    way = f"; pip install {error.name}" if isinstance(error, ModuleNotFoundError) and error.name else ""
    return NetworkError(f"{what}: {type(error).__name__}: {error}{_where(error)}{way}")


def _where(error: BaseException) -> str:
    """The innermost line of Python that raised."""
    trace, found = error.__traceback__, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<"):
            found = f" at {Path(file).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
