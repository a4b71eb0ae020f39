"""Where networks come from: one function a source, which finds what is to be called."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from reconfig.errors import NetworkError
from reconfig.networks.importing import import_file, import_module, in_path
from reconfig.networks.name import LIBRARIES, NetworkName
from reconfig.networks.nearest import listing, nearest

Factory = Callable[..., object]


@contextmanager
def find(name: NetworkName) -> Iterator[Factory]:
    """What ``name`` calls; within, its file's siblings can be imported.

    Raises:
        NetworkError: there is no such thing.
    """
    place = _local(name)
    if place.source in LIBRARIES:
        yield {"timm": _timm, "torchvision": _torchvision, "zoo": _zoo, "hub": _hub}[name.source](name)
        return
    with in_path(Path(place.source).resolve().parent if place.is_file else Path.cwd()):
        yield _attribute(place, import_file(Path(place.source)) if place.is_file else import_module(place))


def _local(name: NetworkName) -> NetworkName:
    """The same, by its file where it is a hub's in a folder."""
    folder, _, entry = name.name.rpartition(":")
    hubconf = Path(folder, "hubconf.py")
    return NetworkName(str(hubconf), entry, name.arguments) if name.source == "hub" and hubconf.is_file() else name


def _timm(name: NetworkName) -> Factory:
    timm = _library("timm")
    base, _, tag = name.name.partition(".")
    if ":" not in base:  # timm's own other places, as hf-hub:
        if not timm.is_model(base):
            raise _unknown(name, "timm has no network", base, timm.list_models())
        tagged = timm.list_models(f"{base}.*", include_tags=True) if tag else []
        if tag and name.name not in tagged:
            raise _unknown(name, f"timm has no weights of {base} called", name.name, [*tagged, base])
    return partial(timm.create_model, name.name)


def _torchvision(name: NetworkName) -> Factory:
    models: Any = _library("torchvision").models
    if name.name not in (known := models.list_models()):
        raise _unknown(name, "torchvision has no network", name.name, known)
    return models.get_model_builder(name.name)


def _zoo(name: NetworkName) -> Factory:
    from reconfig import zoo

    known = {key: getattr(zoo, key) for key in zoo.__all__ if inspect.isfunction(getattr(zoo, key))}
    if name.name not in known:
        raise _unknown(name, "reconfig.zoo has no network", name.name, known)
    return known[name.name]


def _hub(name: NetworkName) -> Factory:
    import torch

    repository, _, entry = name.name.rpartition(":")
    if Path(repository).is_dir() or repository.partition(":")[0].count("/") != 1:
        missing = (
            "has no hubconf.py" if Path(repository).is_dir() else "is neither owner/repo nor a folder with a hubconf.py"
        )
        raise NetworkError(f"{repository!r} in {str(name)!r} {missing}: write hub:owner/repo:name or hub:folder:name")
    try:
        known = torch.hub.list(repository, verbose=False)
    except (Exception, EOFError) as error:
        raise NetworkError(
            f"cannot read hubconf.py of {repository}: {type(error).__name__}: {error}; see that "
            f"torch.hub.list({repository!r}) works"
        ) from error
    if entry not in known:
        raise _unknown(name, f"{repository} has no network", entry, known, f"{repository}:")
    return partial(torch.hub.load, repository, entry, verbose=False)


def _attribute(name: NetworkName, module: Any) -> Factory:
    found = module
    for part in name.name.split("."):
        if not hasattr(found, part):
            own = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
            raise _unknown(name, f"{name.source} has no", name.name, own)
        found = getattr(found, part)
    from torch import nn

    if isinstance(found, nn.Module):
        kind = type(found).__name__
        example = f", as in {name.source}:{kind}" if hasattr(module, kind) else ""
        raise NetworkError(
            f"{name} is a network already, not what makes one: name its class or a function that returns it{example}"
        )
    if not callable(found):
        raise NetworkError(
            f"{name} is {type(found).__name__} and cannot be called: name a class or a function that makes a network"
        )
    return found


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise NetworkError(f"{name} cannot be imported: {error}; pip install {error.name}") from error
        raise NetworkError(f"{name} is not installed: pip install 'robust-reconfig[{name}]'") from error


def _unknown(name: NetworkName, what: str, wanted: str, known: Iterable[str], before: str = "") -> NetworkError:
    names = list(known)
    near = nearest(wanted, names)
    if not near:
        return NetworkError(f"{what} {wanted!r}; it has {listing(names) or 'none'}")
    corrected = NetworkName(name.source, before + near[0], name.arguments)
    return NetworkError(f"{what} {wanted!r}; the nearest are {', '.join(near)}: write {str(corrected)!r}")
