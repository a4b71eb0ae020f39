"""DenseNet with bottlenecks, for 32x32 images (Huang, Liu, van der Maaten & Weinberger, CVPR 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DenseLayer(nn.Module):
    """BN-ReLU-conv1x1-BN-ReLU-conv3x3: adds `growth` channels in front of those that came in."""

    def __init__(self, width: int, growth: int, bottleneck: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, bottleneck * growth, kernel_size=1, bias=False)
        self.bn2 = nn.BatchNorm2d(bottleneck * growth)
        self.conv2 = nn.Conv2d(bottleneck * growth, growth, kernel_size=3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv1(F.relu(self.bn1(x)))
        new = self.conv2(F.relu(self.bn2(new)))
        return torch.cat([new, x], dim=1)


class Transition(nn.Module):
    """BN-ReLU-conv1x1 and a 2x2 average pool: half the resolution, another width."""

    def __init__(self, width: int, new_width: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(width)
        self.conv = nn.Conv2d(width, new_width, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(F.relu(self.bn(x))), kernel_size=2)


class DenseNet(nn.Module):
    """A 3x3 stem without a pool, densely connected stages with transitions between them, one linear layer.

    Shapes: (N, 3, H, W) -> (N, num_classes). Module names (`conv1`; `stages.<i>.0.<layer>` and, for the
    transition, `stages.<i>.1`; `bn`; `linear`) and the initialisation, which is PyTorch's default, are those
    of the paper's published code.

    Args:
        layers: dense layers in each stage.
        growth: channels that a dense layer adds.
        bottleneck: the 1x1 convolution of a dense layer is `bottleneck * growth` wide.
        num_classes: the number of logits.
    """

    def __init__(self, layers: Sequence[int], growth: int = 32, bottleneck: int = 4, num_classes: int = 10) -> None:
        super().__init__()
        width = 2 * growth
        self.conv1 = nn.Conv2d(3, width, kernel_size=3, padding=1, bias=False)
        self.stages = nn.Sequential()
        for index, count in enumerate(layers):
            dense = [DenseLayer(width + i * growth, growth, bottleneck) for i in range(count)]
            stage = nn.Sequential(nn.Sequential(*dense))
            width += count * growth
            if index < len(layers) - 1:
                stage.append(Transition(width, width // 2))
                width //= 2
            self.stages.append(stage)
        self.bn = nn.BatchNorm2d(width)
        self.linear = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.conv1(x))
        x = F.adaptive_avg_pool2d(F.relu(self.bn(x)), 1)
        return self.linear(x.flatten(1))


def densenet121(num_classes: int = 10) -> DenseNet:
    """DenseNet-121, the paper's (Huang et al. 2021, table 2): growth 32, stages of 6, 12, 24 and 16 layers.

    (N, 3, 32, 32) -> (N, num_classes), 6,956,298 parameters.
    """
    return DenseNet((6, 12, 24, 16), growth=32, num_classes=num_classes)
