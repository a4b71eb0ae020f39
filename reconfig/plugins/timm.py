"""Every network of timm under a second name, in its -R variant: ``resnet50`` as ``resnet50_r``.

    import timm
    import reconfig.plugins.timm

    model = timm.create_model("resnet50_r", rule="10-10-4", gamma=1.5, pretrained=True)
    backbone = timm.create_model("resnet50_r", features_only=True, out_indices=(1, 2, 3, 4))

Importing this registers the names; timm's own scripts then take them too (``--model resnet50_r --model-kwargs
rule=10-10-4 gamma=1.5``). The same arguments give the same network, so its checkpoints load wherever timm loads one.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from timm.models import get_arch_pretrained_cfgs, is_model, list_models, model_entrypoint, register_model
from timm.models._builder import pretrained_cfg_for_features
from timm.models._features import FeatureDictNet, FeatureGetterNet, FeatureHookNet
from timm.models._features_fx import FeatureGraphNet
from timm.models._pretrained import DefaultCfg
from torch import Tensor, nn

import reconfig
from reconfig.planning.budget import Budget

SUFFIX = "_r"
_FEATURE_OPTIONS = ("out_indices", "feature_cls", "feature_cfg")
_DILATION = "output_stride"
_WRAPPERS = (FeatureDictNet, FeatureHookNet, FeatureGetterNet, FeatureGraphNet)

_Entrypoint = Callable[..., nn.Module]

_log = logging.getLogger(__name__)

default_cfgs: dict[str, DefaultCfg] = {}
"""Where the weights of the originals are, by the names that are registered here; timm looks them up."""

__all__ = ["SUFFIX", "default_cfgs"]  # timm adds the names of the networks


def _variant(name: str) -> _Entrypoint:
    """The function that timm calls for ``<name>_r``."""

    def create(
        pretrained: bool = False,
        *,
        rule: str | reconfig.Rule = "10-10-4",
        gamma: float = 1.0,
        budget: Budget | None = None,
        weights: str | None = None,
        stages: Mapping[str, int] | None = None,
        strict: bool = False,
        features_only: bool = False,
        **kwargs: Any,
    ) -> nn.Module:
        original = model_entrypoint(name)
        usual = _usual_features(original, kwargs) if features_only else None
        dilated = {key: value for key, value in kwargs.items() if key not in _FEATURE_OPTIONS}
        own = {key: value for key, value in dilated.items() if key != _DILATION}
        model = original(pretrained=pretrained, **own)
        plan = reconfig.plan(
            model,
            rule,
            gamma=gamma,
            budget=budget,
            example_input=_example(model, kwargs),
            weights=weights or ("inherit" if pretrained else "fresh"),
            stages=stages,
            outputs="scale",
            strict=strict,
        )
        _log.log(logging.WARNING if plan.frozen else logging.INFO, "%s%s: %s", name, SUFFIX, plan)
        if dilated != own and (usual is None or isinstance(usual, _WRAPPERS)):
            model = original(pretrained=pretrained, **dilated)  # the stages are those of the network without dilation
        result: Any = plan.apply(model)
        if usual is not None:
            result = _features(original, result, usual, kwargs)
        result.pretrained_cfg["architecture"] = name + SUFFIX  # who rebuilds it by name gets the variant again
        return result

    create.__name__ = create.__qualname__ = name + SUFFIX
    create.__doc__ = f"The -R variant of {name}: timm's arguments, and those of ``reconfig.plan``."
    return create


def _example(model: nn.Module, kwargs: Mapping[str, Any]) -> Tensor:
    """An image as large as timm says, with as many channels as are asked for."""
    config: Any = model.pretrained_cfg
    channels, height, width = config["input_size"]
    size = kwargs.get("img_size") or (height, width)
    height, width = (size, size) if isinstance(size, int) else size
    first = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    return torch.empty((1, kwargs.get("in_chans") or channels, height, width), dtype=first.dtype, device="meta")


def _usual_features(original: _Entrypoint, kwargs: Mapping[str, Any]) -> Any:
    """The features network that timm makes of the original, on the meta device."""
    with torch.device("meta"):
        return original(pretrained=False, features_only=True, **deepcopy(dict(kwargs)))


def _features(original: _Entrypoint, whole: Any, usual: Any, kwargs: Mapping[str, Any]) -> nn.Module:
    """The features of a rewritten network, in the class that timm gives the original's.

    The whole network was rewritten before, so that a budget counted its head and the weights that it inherits are those
    that its classifier does. A network with a features class of its own (an EfficientNet, an HRNet) is asked for its
    intermediate maps instead.

    Args:
        original: makes the original.
        whole: its variant.
        usual: what timm makes of the original.
        kwargs: what timm was given.
    """
    if isinstance(usual, _WRAPPERS):
        with torch.device("meta"):
            chosen = {**kwargs, "feature_cls": _in_place_of(type(usual), whole)}
            return original(pretrained=False, features_only=True, **chosen)
    if _DILATION in kwargs:
        _dilate(whole, usual)
    result: Any = FeatureGetterNet(whole, out_indices=usual.feature_info.out_indices)
    result.pretrained_cfg = result.default_cfg = pretrained_cfg_for_features(whole.pretrained_cfg)
    return result


def _dilate(whole: Any, usual: Any) -> None:
    """Give the layers of ``whole`` the strides of those of the same names in a features network, which it may lack."""
    for name, layer in usual.named_modules():
        if isinstance(layer, nn.Conv2d):
            mine: Any = whole.get_submodule(name)
            mine.stride, mine.dilation, mine.padding = layer.stride, layer.dilation, layer.padding
    reductions = {entry["module"]: entry["reduction"] for entry in usual.feature_info.info}
    for entry in whole.feature_info:
        entry["reduction"] = reductions.get(entry["module"], entry["reduction"])


def _in_place_of(kind: Any, whole: nn.Module) -> type[nn.Module]:
    """``kind`` for timm to call on a network that it has made: a plain one of ``whole`` comes out, with its options."""
    device = next(whole.parameters()).device

    def create(_: Any, model: nn.Module, **options: Any) -> nn.Module:
        with device:
            return kind(whole, **options)

    return type(kind.__name__, (kind,), {"__new__": create})


def _weights_of(name: str, variant: str) -> DefaultCfg | None:
    """Where the weights of the original are, the default first."""
    found = get_arch_pretrained_cfgs(name)
    tags = {key.partition(".")[2]: replace(config, architecture=variant) for key, config in found.items()}
    return DefaultCfg(deque(tags), tags, any(config.has_weights for config in tags.values())) if tags else None


def register() -> None:
    """Enter every network of timm that is not there yet under its name with ``_r``."""
    for name in list_models():
        if name.endswith(SUFFIX) and is_model(name.removesuffix(SUFFIX)):
            continue
        if not is_model(name + SUFFIX):
            function = _variant(name)
            weights = _weights_of(name, function.__name__)
            if weights is not None:
                default_cfgs[function.__name__] = weights
            globals()[function.__name__] = function
            register_model(function)


register()
