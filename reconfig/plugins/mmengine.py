"""A kind of model for configurations of mmengine: another model in its -R variant.

    custom_imports = dict(imports=["reconfig.plugins.mmengine"])
    model = dict(type="Reconfigured", model=dict(type="ImageClassifier", ...), rule="10-10-4", gamma=1.5)

It is built before there is an optimizer, which hooks of mmengine are too late for, and in every process. The same
configuration gives the same network, so its checkpoints resume and load wherever the configuration does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import PretrainedInit
from mmengine.registry import MODELS
from torch import nn

import reconfig
from reconfig.errors import InputError, ModelError
from reconfig.plugins.parts import ITSELF, networks_in, parts, rewrite
from reconfig.plugins.request import Request

_CALLER = "Reconfigured"
_EXAMPLE = "dict(type='Reconfigured', model=dict(type='ImageClassifier', ...), rule='10-10-4')"


@MODELS.register_module(name=_CALLER)  # type: ignore[untyped-decorator]
def reconfigured(
    model: Mapping[str, Any] | nn.Module | None = None,
    rule: str | reconfig.Rule = "10-10-4",
    networks: str | Sequence[str] = ITSELF,
    **options: Any,
) -> nn.Module:
    """The model of a configuration in its -R variant.

    Where an ``init_cfg`` in it is of the type "Pretrained", or ``weights="inherit"`` is given, its weights are
    initialised before, and inherited. Otherwise the runner initialises the variant, as it does any model.

    Args:
        model: the original's configuration, or the original.
        rule: as ``reconfig.plan`` takes it.
        networks: names of attributes of the model, where only a part of it is to be rewritten, or where its forward
            needs more than images; all of it, as its mode "tensor" runs it, where left out.
        options: of ``reconfig.plan``.

    Raises:
        TypeError: an option that ``reconfig.plan`` does not take.
        ModelError: no model, no such network in it, or pretrained weights beside ``weights="fresh"``.
        InputError: its forward needs more than images.
        ReconfigError: as ``reconfig.plan`` does.
    """
    request = Request(_CALLER, rule, options)
    original = MODELS.build(model) if isinstance(model, Mapping) else model
    if not isinstance(original, nn.Module):
        raise ModelError(f"{_CALLER} needs the original as model, and this is {original!r}: write {_EXAMPLE}")
    weights = _weights(original, options.get("weights"))
    if weights == "inherit" and callable(initialise := getattr(original, "init_weights", None)):
        initialise()
    names = [networks] if isinstance(networks, str) else list(networks)
    for name, network in parts(original, names, _CALLER).items():
        rewrite(original, name, network, _plan(original, name, network, request, weights))
    return original


def _plan(original: nn.Module, name: str, network: nn.Module, request: Request, weights: str) -> reconfig.Plan:
    try:
        return request.plan(network, weights=weights)
    except InputError as error:
        inside = list(networks_in(original))
        if name != ITSELF or not inside:
            raise
        raise InputError(
            f"{error}; where forward of {type(original).__name__} needs more than images, name the network in it: "
            f"networks='{inside[0]}', or another of {', '.join(inside)}"
        ) from error


def _weights(original: nn.Module, chosen: str | None) -> str:
    loads = [name or type(original).__name__ for name, module in original.named_modules() if _is_pretrained(module)]
    if loads and chosen == "fresh":
        raise ModelError(
            f"init_cfg of {', '.join(loads)} loads weights of the original, which do not fit fresh ones: leave out "
            "weights='fresh' to inherit them, or that init_cfg"
        )
    return chosen or ("inherit" if loads else "fresh")


def _is_pretrained(module: nn.Module) -> bool:
    found: Any = getattr(module, "init_cfg", None)
    each = found if isinstance(found, list | tuple) else [found]
    return any(isinstance(one, Mapping) and one.get("type") in ("Pretrained", PretrainedInit) for one in each)
