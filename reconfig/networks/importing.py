"""Modules and files of the user's, imported where they lie."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

from reconfig.errors import NetworkError
from reconfig.networks.failing import failed
from reconfig.networks.name import LIBRARIES, NetworkName
from reconfig.networks.nearest import nearest


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


def import_module(name: NetworkName) -> ModuleType:
    """The module of ``name``.

    Raises:
        NetworkError: it is missing, or raises.
    """
    try:
        return importlib.import_module(name.source)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name.source == missing or name.source.startswith(missing + "."):
            raise NetworkError(f"no module {missing!r} for {str(name)!r}: {_meant(name, missing)}") from error
        raise failed(f"{name.source} cannot be imported", error) from error
    except (Exception, SystemExit) as error:
        raise failed(f"{name.source} cannot be imported", error) from error


def _meant(name: NetworkName, missing: str) -> str:
    """What to write in place of a module that is not there."""
    parent, _, last = missing.rpartition(".")
    folders = list(getattr(sys.modules.get(parent), "__path__", ())) if parent else [str(Path.cwd())]
    near = nearest(last, [*(() if parent else LIBRARIES), *(found.name for found in iter_modules(folders))])
    if near:
        source = f"{parent}.{near[0]}" if parent else near[0]
        return f"write {str(NetworkName(source + name.source.removeprefix(missing), name.name, name.arguments))!r}"
    return f"install what has {missing}, run from its folder, or name a file, as in path/to/file.py:{name.name}"


def import_file(path: Path) -> ModuleType:
    """The module in a file, under the name that it has where it lies: of a package, its relative imports work.

    Raises:
        NetworkError: it is missing, or raises.
    """
    if not path.is_file():
        near = nearest(path.name, (found.name for found in path.parent.glob("*.py")))
        meant = f"the nearest is {path.with_name(near[0])}" if near else "a network reads like folder/file.py:Net"
        raise NetworkError(f"there is no file {path}: {meant}")
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
