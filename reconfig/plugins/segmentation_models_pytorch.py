"""Every encoder of segmentation_models_pytorch under a second name, in its -R variant: ``resnet34_r``.

    import segmentation_models_pytorch as smp
    import reconfig.plugins.segmentation_models_pytorch as encoders
    import reconfig.plugins.timm  # for the encoders of timm: tu-resnet50_r

    smp.Unet("resnet34_r", encoder_weights="imagenet")  # "10-10-4"
    encoders.register("resnet34", "10-10-5", gamma=1.5, name="resnet34_wide")
    smp.FPN("resnet34_wide")
    smp.DeepLabV3Plus("tu-resnet50_r", rule="10-10-4", gamma=1.5)

Importing this registers the names. The decoder is built on the channels that the variant gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from segmentation_models_pytorch.encoders import encoders
from torch import nn

import reconfig
from reconfig.errors import NetworkError
from reconfig.networks.nearest import nearest
from reconfig.planning.plan import Plan
from reconfig.plugins.request import Request

SUFFIX = "_r"
_WHOLE = 5  # stages that an encoder has, of which a network may use fewer
_SIZE = 64  # pixels
_CALLER = "register"


def register(encoder: str, rule: str | reconfig.Rule = "10-10-4", *, name: str | None = None, **options: Any) -> None:
    """Enter the -R variant of an encoder for ``smp.Unet(name)`` and the like.

    Pretrained weights (``encoder_weights``) are those of the original, which the variant inherits.

    Args:
        encoder: a name that segmentation_models_pytorch has; those of timm, "tu-resnet50_r", come with
            ``reconfig.plugins.timm``, and take the rule beside the name.
        rule, options: as ``reconfig.plan`` takes them; weights and outputs follow from the use.
        name: its own; that of the encoder with ``_r`` where left out. One that was registered here is replaced.

    Raises:
        NetworkError: there is no such encoder, or the name is another's.
        TypeError: an option that ``reconfig.plan`` does not take.
        RuleError: a rule that does not parse.
    """
    request = Request(_CALLER, rule, options)
    own = _own()
    if encoder not in own:
        raise NetworkError(_unknown(encoder, own))
    chosen = encoder + SUFFIX if name is None else name
    if chosen in own:
        raise NetworkError(f"{chosen!r} is an encoder of segmentation_models_pytorch: write name='{encoder}{SUFFIX}'")
    original = encoders[encoder]
    encoders[chosen] = {**original, "encoder": _Variant(original["encoder"], request)}


def _own() -> list[str]:
    """The encoders that were not registered here."""
    return [name for name, entry in encoders.items() if not isinstance(entry["encoder"], _Variant)]


def _unknown(encoder: str, known: list[str]) -> str:
    if encoder.startswith("tu-"):
        return (
            f"{encoder!r} is an encoder of timm, which needs no registering: import reconfig.plugins.timm, and write "
            f"smp.Unet('{encoder.partition('.')[0].removesuffix(SUFFIX)}{SUFFIX}', rule=...)"
        )
    near = nearest(encoder, known)
    meant = f"write register({near[0]!r}, rule)" if near else f"it has {', '.join(known[:8])} and more"
    return f"segmentation_models_pytorch has no encoder {encoder!r}: {meant}"


class _Variant:
    """What segmentation_models_pytorch calls for the class of an encoder."""

    def __init__(self, original: Callable[..., Any], request: Request) -> None:
        self._original, self._request = original, request

    def __deepcopy__(self, memo: Mapping[int, Any]) -> _Variant:
        return self

    def __call__(self, *, depth: int = _WHOLE, **params: Any) -> nn.Module:
        whole = self._original(depth=_WHOLE, **deepcopy(params))
        example = torch.empty(1, 3, _SIZE, _SIZE, device="meta")
        plan = self._request.plan(whole, weights="inherit", outputs="scale", example_input=example)
        original = whole if depth == _WHOLE else self._original(depth=depth, **deepcopy(params))
        result: Any = replace(plan, weights=self._request.options.get("weights", "fresh")).apply(original)
        result.__class__ = _inheriting(type(result), original, plan)
        return result


def _inheriting(kind: Any, original: Any, plan: Plan) -> Any:
    """The class of an encoder, which takes its original's weights too."""

    def load_state_dict(self: Any, state: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        fits = all(tuple(state[name].shape) == shape for name, shape in plan.after.items() if name in state)
        if not fits:
            source = deepcopy(original)
            source.load_state_dict(dict(state))
            state = plan.apply(source).state_dict()
        return super(made, self).load_state_dict(state, *args, **options)

    made: Any = type(kind.__name__, (kind,), {"load_state_dict": load_state_dict, "__module__": kind.__module__})
    return made


def register_all() -> None:
    """Enter every encoder that is not there yet under its name with ``_r``."""
    for name in _own():
        if name + SUFFIX not in encoders:
            register(name)


register_all()
