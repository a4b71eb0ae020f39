"""CRoZe (Ha et al., 2023): how alike a network and a perturbed copy of it are, in features, weights and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from reconfig.harness.attacks.gradient import FGSM, perturb
from reconfig.harness.experiment import Threat

_Layer = _ConvNd | nn.Linear

_BETA = 0.1
"""How far the weights of a layer are perturbed, in lengths of themselves."""
_STEP = 0.1
"""Learning rate of the one step after which weights are compared."""


class _Seen(NamedTuple):
    """Of one layer."""

    features: Tensor
    weight: Tensor
    """After a step."""
    gradient: Tensor


def croze(model: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> float:
    """The sum over layers of Z P G (Ha et al., 2023, section 3), with cosines between the network on clean images and
    the robust network on attacked ones: Z = (1 + cos of features) / 2, P = (1 + cos of weights after one step of
    gradient descent) / 2, G = |cos of gradients|.

    The robust network has each layer's weights moved along the loss's gradient, by ``_BETA`` of their length; the
    images are attacked by FGSM against it. Layers are convolutions and linear maps.
    """
    clean = deepcopy(model).train()
    robust = deepcopy(model).train()
    _move(robust, images, labels)
    attacked = perturb(robust, images, labels, threat, FGSM)
    one, other = _seen(clean, images, labels), _seen(robust, attacked, labels)
    total = 0.0
    for name, first in one.items():
        second = other[name]
        z = (1 + _cosine(first.features, second.features)) / 2
        p = (1 + _cosine(first.weight, second.weight)) / 2
        total += z * p * abs(_cosine(first.gradient, second.gradient))
    return total


def _layers(model: nn.Module) -> dict[str, _Layer]:
    """The layers by their names, in the network's order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, _Layer)}


def _move(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    weights = [layer.weight for layer in _layers(model).values()]
    gradients = torch.autograd.grad(F.cross_entropy(model(images), labels), weights, allow_unused=True)
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            if gradient is not None and gradient.norm() > 0:
                weight += _BETA * weight.norm() * gradient / gradient.norm()


def _seen(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, _Seen]:
    """What is compared, of each layer that ran."""
    layers = _layers(model)
    with _features(layers) as features:
        loss = F.cross_entropy(model(images), labels)
    ran = {name: layers[name] for name in layers if name in features}
    gradients = torch.autograd.grad(loss, [layer.weight for layer in ran.values()])
    return {
        name: _Seen(features[name], layer.weight.detach() - _STEP * gradient, gradient)
        for (name, layer), gradient in zip(ran.items(), gradients, strict=True)
    }


@contextmanager
def _features(layers: dict[str, _Layer]) -> Iterator[dict[str, Tensor]]:
    """Within, what each layer gives is kept by its name."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> torch.utils.hooks.RemovableHandle:
        return layers[name].register_forward_hook(
            lambda _module, _inputs, output: found.update({name: output.detach()})
        )

    handles = [keep(name) for name in layers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(F.cosine_similarity(one.flatten(), other.flatten(), dim=0))
