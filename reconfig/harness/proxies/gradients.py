"""Proxies by one gradient of a network's weights under attack."""

from __future__ import annotations

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reconfig.harness.attacks.gradient import FGSM, perturb
from reconfig.harness.experiment import Threat


def gradient_norm(model: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> float:
    """The norms of the loss's gradient, a parameter each, summed: in training mode, on images attacked by FGSM.

    Abdelfattah et al. (2021, section 3.2) take clean images.
    """
    attacked = perturb(model, images, labels, threat, FGSM)
    network = deepcopy(model).train()  # whose batch statistics may move
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(F.cross_entropy(network(attacked), labels), parameters, allow_unused=True)
    return float(sum(gradient.norm() for gradient in gradients if gradient is not None))


def synflow(model: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> float:
    """The logarithm of the synaptic flow: of the sum of |w dR/dw| over all weights w, where R is the sum of the logits
    of the network with |w| for w.

    Tanaka et al. (2020, section 6) define it for an input of ones, and Abdelfattah et al. (2021, section 3.2) sum it
    over a network. Here the input are images, non-negative as ones are, that FGSM attacked, and R is their mean.
    Computed in float64, for products over layers overflow; a batch norm is in eval mode, at its first statistics.
    """
    attacked = perturb(model, images, labels, threat, FGSM).double()
    network = deepcopy(model).double().eval()
    weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with torch.no_grad():
        for weight in weights:
            weight.abs_()
    gradients = torch.autograd.grad(network(attacked).sum() / len(images), weights, allow_unused=True)
    flow = sum(
        (weight.detach() * gradient).abs().sum()
        for weight, gradient in zip(weights, gradients, strict=True)
        if gradient is not None
    )
    return float(torch.as_tensor(flow).log())
