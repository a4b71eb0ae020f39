"""Every classifier and segmentation network of torchvision under a second name, in its -R variant: ``resnet18_r``.

    from torchvision.models import get_model
    import reconfig.plugins.torchvision

    model = get_model("resnet18_r", rule="10-10-4", gamma=1.5, weights="DEFAULT")

Importing this registers the names. Detectors are built on a backbone, with ``resnet_fpn_extractor``, or rewritten whole
on an ``example_input``, one tensor of images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import torch
from torch import nn
from torchvision import models
from torchvision.models import ResNet, get_model_builder, list_models
from torchvision.models._api import register_model
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool

import reconfig
from reconfig.planning.budget import Budget
from reconfig.planning.make import Example

SUFFIX = "_r"
_FPN_CHANNELS = 256  # as torchvision's own extractor has them
_LAYERS = ("layer4", "layer3", "layer2", "layer1", "conv1", "bn1")  # in the order in which they are set free


def _variant(original: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """The function that torchvision calls for ``<name>_r``; to others it looks like the original's."""

    @wraps(original)
    def create(
        *,
        rule: str | reconfig.Rule = "10-10-4",
        gamma: float = 1.0,
        budget: Budget | None = None,
        example_input: Example | None = None,
        stages: Mapping[str, int] | None = None,
        strict: bool = False,
        **kwargs: Any,
    ) -> nn.Module:
        loaded = any(kwargs.get(name) is not None for name in ("weights", "weights_backbone"))
        return reconfig.apply(
            original(**kwargs),
            rule,
            gamma=gamma,
            budget=budget,
            example_input=example_input,
            weights="inherit" if loaded else "fresh",
            stages=stages,
            outputs="scale",
            strict=strict,
        )

    return create


def resnet_fpn_extractor(
    backbone: ResNet,
    trainable_layers: int,
    returned_layers: list[int] | None = None,
    extra_blocks: ExtraFPNBlock | None = None,
    norm_layer: Callable[..., nn.Module] | None = None,
) -> BackboneWithFPN:
    """What torchvision's ``_resnet_fpn_extractor`` is, for a ResNet of any widths, such as an -R variant.

    torchvision's own takes ``inplanes`` and assumes that every stage has half the channels of the next, which no narrow
    last stage has. Here the channels are those that the stages give.

    Args:
        backbone: its ``layer1`` to ``layer4`` are used.
        trainable_layers: how many of its parts, counted from the last, are trained (0 to 5); the others are frozen.
        returned_layers: numbers, 1 to 4, of the layers that the pyramid is built on; all where left out.
        extra_blocks: as torchvision's; a max-pool on the last map where left out.
        norm_layer: norm of the pyramid.

    Raises:
        ValueError: where the number of trainable layers, or a returned layer, does not exist.
    """
    returned = [1, 2, 3, 4] if returned_layers is None else returned_layers
    if not 0 <= trainable_layers <= 5:
        raise ValueError(f"trainable_layers is {trainable_layers}: a ResNet has 0 to 5 of them")
    if not returned or not set(returned) <= {1, 2, 3, 4}:
        raise ValueError(f"returned_layers is {returned}: a ResNet has the layers 1, 2, 3 and 4")
    trained = _LAYERS[: trainable_layers + (trainable_layers == 5)]
    for name, parameter in backbone.named_parameters():
        if not name.startswith(trained):
            parameter.requires_grad_(False)
    return_layers = {f"layer{layer}": str(number) for number, layer in enumerate(returned)}
    return BackboneWithFPN(
        backbone,
        return_layers,
        _channels(backbone, return_layers),
        _FPN_CHANNELS,
        extra_blocks=extra_blocks or LastLevelMaxPool(),
        norm_layer=norm_layer,
    )


def _channels(backbone: ResNet, return_layers: dict[str, str]) -> list[int]:
    """The channels that these layers give, seen in a forward in eval mode."""
    training = backbone.training
    example = torch.zeros(1, backbone.conv1.in_channels, 64, 64).to(backbone.conv1.weight)
    try:
        with torch.no_grad():
            maps = IntermediateLayerGetter(backbone.eval(), return_layers)(example)
    finally:
        backbone.train(training)
    return [maps[name].shape[1] for name in return_layers.values()]


def register() -> None:
    """Enter every classifier and segmentation network that is not there yet under its name with ``_r``."""
    known = set(list_models())
    for module in (models, models.segmentation):
        for name in list_models(module=module):
            if name + SUFFIX not in known and not name.endswith(SUFFIX):
                register_model(name + SUFFIX)(_variant(get_model_builder(name)))


register()
