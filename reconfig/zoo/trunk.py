"""The way through a network of pre-activation blocks, which wide residual networks and those made after them share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class PreActivationTrunk(nn.Module):
    """A stem, stages, a norm with its activation, global average pooling, one linear layer.

    Shapes: (N, 3, H, W) -> (N, num_classes). A network of this kind makes the parts and draws their weights.
    """

    stem_conv: nn.Conv2d
    blocks: nn.ModuleList
    bn1: nn.BatchNorm2d
    fc: nn.Linear

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_conv(x)
        for block in self.blocks:
            x = block(x)
        x = F.adaptive_avg_pool2d(self.activate(self.bn1(x)), 1)
        return self.fc(x.flatten(1))

    def activate(self, x: Tensor) -> Tensor:
        """What stands behind the last norm."""
        return F.relu(x)
