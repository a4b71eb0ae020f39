"""RobustResNets for 32x32 images (Huang S. et al., Revisiting Residual Networks for Adversarial Robustness, CVPR 2023).

A wide residual network whose basic block is replaced by RobustResBlock, and whose depths and widths follow the paper's
compound scaling. The figures are those of the paper's Tables 1 and 2 as printed with its code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reconfig.zoo.gates import SqueezeExcite

_EXPANSION = 4  # output channels of a block over its planes
_SCALES = 8
_GROUPS = 4
_PLANES_A_GROUP = 16  # base width 10 of 160: a scale has one channel a group for every 16 planes
_REDUCTION = 64  # channels over those between the two layers of the gate


class RobustResBlock(nn.Module):
    """A pre-activation bottleneck whose 3x3 convolutions follow one another, scale by scale, as in Res2Net.

    BN-ReLU-conv1x1-BN-ReLU; eight scales, all but the last through a grouped conv3x3-BN-ReLU that takes the scale
    before it too; conv1x1; the residual, and the result once more through BN and a squeeze-and-excitation gate. Where
    the block downsamples, the scales do not add up, and an average pool takes the last one along. conv1x1 carries the
    residual where the shape changes.

    The paper's published code gives the first conv1x1 the raw input, so that the norm before it serves nothing but
    the projection; here it comes before both, as in a pre-activation block. The count is the same.

    Shapes: (N, width, H, W) -> (N, 4 * planes, H / stride, W / stride).
    """

    def __init__(self, width: int, planes: int, stride: int) -> None:
        super().__init__()
        scale, new_width = planes // _PLANES_A_GROUP * _GROUPS, planes * _EXPANSION
        self.stride = stride
        self.bn1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, scale * _SCALES, kernel_size=1, bias=False)
        self.bn2 = nn.BatchNorm2d(scale * _SCALES)
        self.convs = nn.ModuleList(
            nn.Conv2d(scale, scale, kernel_size=3, stride=stride, padding=1, groups=_GROUPS, bias=False)
            for _ in range(_SCALES - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(scale) for _ in range(_SCALES - 1))
        self.conv3 = nn.Conv2d(scale * _SCALES, new_width, kernel_size=1, bias=False)
        self.bn_gate = nn.BatchNorm2d(new_width)
        self.gate = SqueezeExcite(new_width, new_width // _REDUCTION, bias=False)
        self.shortcut = nn.Sequential()
        if width != new_width or stride != 1:
            self.shortcut.append(nn.Conv2d(width, new_width, kernel_size=1, stride=stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        # The 1x1 convolution takes the activated input; the identity takes the raw one.
        residual = self.shortcut(out) if len(self.shortcut) else x
        out = self.conv3(self._scales(F.relu(self.bn2(self.conv1(out)))))
        return residual + out + self.gate(self.bn_gate(out))

    def _scales(self, x: Tensor) -> Tensor:
        *first, last = x.chunk(_SCALES, dim=1)
        done: list[Tensor] = []
        for piece, conv, bn in zip(first, self.convs, self.bns, strict=True):
            taken = piece + done[-1] if done and self.stride == 1 else piece
            done.append(F.relu(bn(conv(taken))))
        if self.stride > 1:
            last = F.avg_pool2d(last, kernel_size=3, stride=self.stride, padding=1)
        return torch.cat([*done, last], dim=1)


class RobustResNet(nn.Module):
    """A 3x3 stem, stages of RobustResBlocks, BN-ReLU, global average pooling, one linear layer.

    Shapes: (N, 3, H, W) -> (N, num_classes).

    Args:
        depths: blocks in each stage.
        planes: planes of each stage, multiples of 16; its blocks' outputs are four times as wide. The first stage keeps
            the resolution, each further one halves it.
        stem: the width of the stem.
        num_classes: the number of logits.

    Raises:
        ValueError: planes that are no multiples of 16.
    """

    def __init__(self, depths: Sequence[int], planes: Sequence[int], stem: int = 16, num_classes: int = 10) -> None:
        super().__init__()
        if any(number < _PLANES_A_GROUP or number % _PLANES_A_GROUP for number in planes):
            raise ValueError(
                f"RobustResNet: planes={list(planes)} must be multiples of {_PLANES_A_GROUP}: one channel for each of "
                "the four groups of a scale. Try [80, 224, 192]."
            )
        self.stem_conv = nn.Conv2d(3, stem, kernel_size=3, padding=1, bias=False)
        self.blocks = nn.ModuleList()
        width = stem
        for index, (depth, number) in enumerate(zip(depths, planes, strict=True)):
            stage = nn.Sequential(RobustResBlock(width, number, 1 if index == 0 else 2))
            width = number * _EXPANSION
            for _ in range(depth - 1):
                stage.append(RobustResBlock(width, number, 1))
            self.blocks.append(stage)
        self.bn1 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, num_classes)
        self.init_weights()

    def init_weights(self) -> None:
        """Draw the weights as the paper's published code does.

        Convolutions are normal with variance 2 / (kernel area * output channels), also grouped ones, batch norms the
        identity; the linear layer's bias is zero, its weight and the gates keep PyTorch's default.
        """
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and ".gate." not in name:
                area = module.kernel_size[0] * module.kernel_size[1]
                nn.init.normal_(module.weight, std=(2 / (area * module.out_channels)) ** 0.5)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_conv(x)
        for block in self.blocks:
            x = block(x)
        x = F.adaptive_avg_pool2d(F.relu(self.bn1(x)), 1)
        return self.fc(x.flatten(1))


def robustresnet(
    depths: Sequence[int] = (4, 4, 4), widen: Sequence[int] = (10, 10, 10), num_classes: int = 10
) -> RobustResNet:
    """A RobustResNet by depths D1, D2, D3 and widening factors W1, W2, W3: 16 W1, 32 W2 and 64 W3 planes.

    (N, 3, 32, 32) -> (N, num_classes). The defaults are those of WRN-28-10, of which the rules of the paper's table are
    tenths: "d14-14-7 w5-7-3" makes RobustResNet-A1 of it.
    """
    planes = [16 * 2**index * factor for index, factor in enumerate(widen)]
    return RobustResNet(depths, planes, num_classes=num_classes)


def robustresnet_a1(num_classes: int = 10) -> RobustResNet:
    """RobustResNet-A1: (N, 3, 32, 32) -> (N, num_classes), 19,222,738 parameters (printed: 19.2 M)."""
    return robustresnet((14, 14, 7), (5, 7, 3), num_classes)


def robustresnet_a2(num_classes: int = 10) -> RobustResNet:
    """RobustResNet-A2: (N, 3, 32, 32) -> (N, num_classes), 39,033,982 parameters (printed: 39.0 M)."""
    return robustresnet((17, 17, 8), (7, 9, 4), num_classes)


def robustresnet_a3(num_classes: int = 10) -> RobustResNet:
    """RobustResNet-A3: (N, 3, 32, 32) -> (N, num_classes), 75,856,698 parameters (printed: 75.9 M)."""
    return robustresnet((22, 22, 11), (8, 11, 5), num_classes)


def robustresnet_a4(num_classes: int = 10) -> RobustResNet:
    """RobustResNet-A4: (N, 3, 32, 32) -> (N, num_classes), 147,262,458 parameters (printed: 147 M)."""
    return robustresnet((27, 28, 13), (10, 14, 6), num_classes)
