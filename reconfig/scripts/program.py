"""A script or a module, and how Python itself would run it as ``__main__``."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any
from zipfile import is_zipfile

from reconfig.errors import ScriptError

_EXAMPLE = "reconfig run --rule 10-10-4 train.py --its own --arguments, or reconfig run -m package.module"


@dataclass(frozen=True)
class Program:
    """What is run.

    Attributes:
        name: a script's path (a file, or a folder or archive with a ``__main__.py``), or a module's name.
        arguments: its own.
        is_module: whether it is run as ``python -m`` does.
    """

    name: str
    arguments: tuple[str, ...] = ()
    is_module: bool = False

    @classmethod
    def read(cls, words: Sequence[str]) -> Program:
        """The program that a command line ends with: ``train.py ...``, or ``-m package.module ...``.

        Raises:
            ScriptError: there is none, or the script is missing.
        """
        is_module = bool(words) and words[0] == "-m"
        name, *arguments = words[is_module:] or ("",)
        if not name:
            raise ScriptError(f"no {'module' if is_module else 'script'} is named: write {_EXAMPLE}")
        if not is_module and not Path(name).exists():
            meant = name.removesuffix(".py").replace("/", ".")
            raise ScriptError(f"there is no script {name}: name a file, or a module as in reconfig run -m {meant}")
        return cls(name, tuple(arguments), is_module)

    @property
    def words(self) -> tuple[str, ...]:
        """The same as a command line has it."""
        return (*(("-m",) if self.is_module else ()), self.name, *self.arguments)

    def __str__(self) -> str:
        return f"-m {self.name}" if self.is_module else self.name

    def execute(self) -> None:
        """Run it as ``__main__``, with its own ``sys.argv`` and ``sys.path``. Whatever it raises is raised.

        Raises:
            ScriptError: there is nothing to run.
        """
        sys.argv[:] = [self.name, *self.arguments]
        code, main = _module(self.name) if self.is_module else _script(Path(self.name))
        sys.modules["__main__"] = main
        exec(code, vars(main))


def _script(path: Path) -> tuple[CodeType, ModuleType]:
    if path.is_dir() or is_zipfile(path):
        _lead_path_with(os.path.abspath(path))
        spec = PathFinder.find_spec("__main__", [os.path.abspath(path)])
        if spec is None:
            raise ScriptError(f"there is no __main__.py in {path}: name a script, as in {_EXAMPLE}")
        return _code_of(spec), _main(spec, spec.origin or os.fspath(path), package="")
    _lead_path_with(os.path.dirname(os.path.realpath(path)))
    full = os.path.abspath(path)
    with io.open_code(full) as file:
        code = compile(file.read(), full, "exec", dont_inherit=True)
    return code, _main(None, full, package=None)


def _module(name: str) -> tuple[CodeType, ModuleType]:
    _lead_path_with(os.getcwd())
    spec = _spec_of(name)
    if spec is not None and spec.submodule_search_locations is not None:
        name += ".__main__"
        spec = _spec_of(name)
    if spec is None or spec.loader is None:
        raise ScriptError(f"there is no module {name}: see that it is installed, or in the working directory")
    sys.argv[0] = spec.origin or name
    return _code_of(spec), _main(spec, sys.argv[0], package=spec.parent)


def _spec_of(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            return None
        raise
    except ValueError:  # a module that says nothing of where it comes from
        return None


def _code_of(spec: ModuleSpec) -> CodeType:
    loader: Any = spec.loader
    code = loader.get_code(spec.name)
    if code is None:
        raise ScriptError(f"{spec.name} is not written in Python: a script is a .py file")
    return code


def _main(spec: ModuleSpec | None, file: str, package: str | None) -> ModuleType:
    """An empty ``__main__``, with what Python sets in it."""
    main = ModuleType("__main__")
    vars(main).update(
        __annotations__={},
        __builtins__=sys.modules["builtins"],
        __cached__=spec.cached if spec else None,
        __file__=file,
        __loader__=spec.loader if spec else SourceFileLoader("__main__", file),
        __package__=package,
        __spec__=spec,
    )
    return main


def _lead_path_with(folder: str) -> None:
    """What Python puts in front of the path when it starts, unless it was told not to (-P), is that of ours."""
    if not sys.flags.safe_path:
        sys.path[0] = folder
