"""Squeeze-and-excitation (Hu et al., CVPR 2018)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """Each channel times a gate in (0, 1) that all channels' means decide: (N, C, H, W) -> (N, C, H, W).

    Args:
        width: C.
        squeezed: channels between the two 1x1 convolutions, with ReLU.
        bias: whether these have biases.
    """

    def __init__(self, width: int, squeezed: int, bias: bool) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, squeezed, kernel_size=1, bias=bias)
        self.expand = nn.Conv2d(squeezed, width, kernel_size=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        gate = F.relu(self.reduce(F.adaptive_avg_pool2d(x, 1)))
        return x * self.expand(gate).sigmoid()
