"""Networks that are parts of another module: found by name, and given another shape where they are."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.conv import _ConvNd

from reconfig.errors import ModelError
from reconfig.networks.nearest import nearest
from reconfig.planning.plan import Plan
from reconfig.trace.record import Shape
from reconfig.trace.skeleton import tensors_of

ITSELF = "."
"""The name of the whole module, where its own layers are the network."""


def parts(whole: nn.Module, names: Sequence[str] | None, caller: str) -> dict[str, nn.Module]:
    """The networks of these names in ``whole``; where none is given, its only child that has convolutions.

    Args:
        whole: what a trainer trains.
        names: attributes, dots between the names of nested ones, or ``ITSELF``.
        caller: what takes the names, for messages.

    Raises:
        ModelError: there is no such network, or none or several to choose from; the message has the corrected call.
    """
    found = networks_in(whole)
    kind = type(whole).__name__
    if names is None:
        if len(found) == 1 and not any(isinstance(child, _ConvNd) for child in found.values()):
            return found
        raise ModelError(_which(kind, found, caller))
    return {name: whole if name == ITSELF else _part(whole, name, found, caller) for name in names}


def networks_in(whole: nn.Module) -> dict[str, nn.Module]:
    """The children of ``whole`` that have convolutions, or are one."""
    return {name: child for name, child in whole.named_children() if _convolves(child)}


def _part(whole: nn.Module, name: str, found: dict[str, nn.Module], caller: str) -> nn.Module:
    held: object = whole
    for key in name.split("."):
        held = getattr(held, key, None)
    if isinstance(held, nn.Module) and _convolves(held):
        return held
    kind, is_what = type(whole).__name__, type(held).__name__
    if held is None:
        why = f"{kind} has no {name!r} (yet: a network that is made later, as in configure_model, comes too late)"
    else:
        why = f"{name!r} of {kind} is a {is_what} without convolutions"
    meant = [*nearest(name, found), *found][:1]
    raise ModelError(f"{why}: " + (f"write {caller}(networks={meant!r})" if meant else _which(kind, found, caller)))


def _which(kind: str, found: dict[str, nn.Module], caller: str) -> str:
    if not found:
        return f"{kind} has no network with convolutions when it is to be rewritten: make it in __init__"
    if any(isinstance(child, _ConvNd) for child in found.values()):
        return f"the layers of {kind} are its own: write {caller}(networks={[ITSELF]!r}) to rewrite it as one network"
    names = list(found)
    return (
        f"{kind} has several networks with convolutions: write {caller}(networks={names[:1]!r}) for one of "
        f"{', '.join(names)}, or {caller}(networks={[ITSELF]!r}) to rewrite all of it as one network"
    )


def _convolves(module: nn.Module) -> bool:
    return any(isinstance(layer, _ConvNd) for layer in module.modules())


def shapes(network: nn.Module) -> dict[str, Shape]:
    """The shape of every parameter and buffer, as a plan has them."""
    return {name: tuple(tensor.shape) for name, tensor in tensors_of(network)}


def rewrite(whole: nn.Module, name: str, network: nn.Module, plan: Plan) -> None:
    """Put what ``plan`` makes of ``network`` wherever ``whole`` holds it.

    Raises:
        ReconfigError: as ``Plan.apply`` does.
    """
    variant = plan.apply(network)
    if name == ITSELF:
        become(whole, variant, plan)
    for module in list(whole.modules()):
        for key, child in module._modules.items():
            if child is network and module is not variant:
                module._modules[key] = variant


def become(network: nn.Module, variant: nn.Module, plan: Plan) -> None:
    """Make ``network`` what ``plan`` made of it, the object itself: others hold it."""
    published = {edit.name.partition(".")[0] for edit in plan.attributes if not edit.path}
    for name in ("_parameters", "_buffers", "_modules", *sorted(published)):
        vars(network)[name] = vars(variant)[name]
