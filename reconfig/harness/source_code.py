"""Whether the code of a network of one's own is what it was."""

from __future__ import annotations

import sysconfig
from hashlib import sha256
from importlib.util import find_spec
from modulefinder import ModuleFinder
from pathlib import Path

from reconfig.networks import NetworkName
from reconfig.networks.importing import in_path
from reconfig.networks.name import LIBRARIES
from reconfig.networks.sources import find

_OTHERS = ["reconfig", "torch", "torchvision", "timm", "numpy"]
"""What is not followed, wherever it lies: a result file has the versions of these."""


def code_of(model: str) -> str | None:
    """A digest of the files that a network of one's own is written in; None for the networks of libraries.

    These are its own file and what that imports, directly or not, from the folder that it is imported from itself.

    Raises:
        NetworkError: There is no such network.
    """
    name = NetworkName.parse(model)
    if name.source in LIBRARIES:
        return None
    with find(name):  # which says what is wrong, if anything is
        pass
    root, module = _in_file(Path(name.source).resolve()) if name.is_file else _importable(name.source)
    if root is None:
        return None
    finder = ModuleFinder([str(root)], excludes=_OTHERS)
    finder.import_hook(module)
    found = {Path(each.__file__) for each in finder.modules.values() if each.__file__}  # type: ignore[attr-defined]
    digests = [f"{path.relative_to(root)} {sha256(path.read_bytes()).hexdigest()}" for path in sorted(found)]
    return sha256("\n".join(digests).encode()).hexdigest()[:16]


def _in_file(path: Path) -> tuple[Path, str]:
    """The folder from which a file is imported, and its name there: see ``networks.importing.import_file``."""
    folder, module = path.parent, path.stem
    while (folder / "__init__.py").is_file():
        folder, module = folder.parent, f"{folder.name}.{module}"
    return folder, module


def _importable(module: str) -> tuple[Path | None, str]:
    """The same of a module; no folder where it is installed, or no Python file."""
    with in_path(Path.cwd()):
        spec = find_spec(module)
    origin = Path(spec.origin).resolve() if spec is not None and spec.origin else None
    if origin is None or any(origin.is_relative_to(sysconfig.get_path(kind)) for kind in ("purelib", "stdlib")):
        return None, module
    above = module.count(".") + (origin.name == "__init__.py")
    return origin.parents[above], module
