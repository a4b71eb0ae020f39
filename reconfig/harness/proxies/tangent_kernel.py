"""The robust neural tangent kernel (Wu et al., 2024)."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from reconfig.harness.attacks.gradient import FGSM, perturb
from reconfig.harness.experiment import Threat

_IMAGES = 32
"""Of the batch: the kernel has a row, and a gradient of all weights, for each."""


def robust_kernel(model: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> float:
    """The logarithm of the smallest eigenvalue of the robust neural tangent kernel, on which the bounds of Wu et al.
    (2024, section 4) rest: K[i, j] = <df(x_i')/dw, df(x_j')/dw>, where x' are images attacked by FGSM.

    There f is one number; here it is the sum of the logits. The network is in eval mode, so that an image's output is
    its own.
    """
    attacked = perturb(model, images[:_IMAGES], labels[:_IMAGES], threat, FGSM)
    network = deepcopy(model).eval()
    weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
    rows = []
    for image in attacked:
        gradients = torch.autograd.grad(network(image[None]).sum(), weights, allow_unused=True)
        rows.append(torch.cat([gradient.flatten() for gradient in gradients if gradient is not None]))
    jacobian = torch.stack(rows).double()
    smallest = torch.linalg.eigvalsh(jacobian @ jacobian.T)[0]
    return float(smallest.clamp_min(torch.finfo(torch.float64).tiny).log())
