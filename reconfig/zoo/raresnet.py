"""RaResNets for 224x224 images (Peng et al., Robust Principles, BMVC 2023): residual networks by their principles."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from reconfig.zoo.gates import SqueezeExcite


class RaBottleneck(nn.Module):
    """conv1x1-SiLU-conv3x3-BN-SiLU, squeeze-and-excitation, conv1x1-BN, the residual, SiLU.

    The inner width is a quarter of the outer one, the gate's a quarter of the block's input. There is no norm behind
    the first convolution. conv1x1-BN carries the residual where the shape changes.
    """

    def __init__(self, width: int, new_width: int, stride: int, groups: int) -> None:
        super().__init__()
        inner = new_width // 4
        self.conv1 = nn.Conv2d(width, inner, kernel_size=1, bias=False)
        self.conv2 = nn.Conv2d(inner, inner, kernel_size=3, stride=stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.gate = SqueezeExcite(inner, round(0.25 * width), bias=True)
        self.conv3 = nn.Conv2d(inner, new_width, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(new_width)
        self.shortcut = nn.Sequential()
        if width != new_width or stride != 1:
            self.shortcut.append(nn.Conv2d(width, new_width, kernel_size=1, stride=stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(new_width))

    def forward(self, x: Tensor) -> Tensor:
        out = F.silu(self.conv1(x))
        out = self.gate(F.silu(self.bn2(self.conv2(out))))
        out = self.bn3(self.conv3(out))
        return F.silu(out + self.shortcut(x))


class RaResNet(nn.Module):
    """A 7x7 stem without a pool, stages of gated bottlenecks, global average pooling, one linear layer.

    Shapes: (N, 3, H, W) -> (N, num_classes), H and W from 32 up; made for 224. What a ResNet's stem pools is postponed:
    the first block of each stage halves the resolution, that of the first one too. Nothing normalises the images here,
    as in all of this package; the paper's code subtracts their mean and divides by their standard deviation first.

    Args:
        depths: blocks in each stage.
        widths: the width of each stage, multiples of 4 * groups.
        groups: of the 3x3 convolutions.
        stem: the width of the stem.
        num_classes: the number of logits.
    """

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int],
        groups: int = 2,
        stem: int = 96,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, kernel_size=7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.Sequential()
        width = stem
        for depth, new_width in zip(depths, widths, strict=True):
            stage = nn.Sequential(RaBottleneck(width, new_width, 2, groups))
            width = new_width
            for _ in range(depth - 1):
                stage.append(RaBottleneck(width, width, 1, groups))
            self.stages.append(stage)
        self.fc = nn.Linear(width, num_classes)
        self.init_weights()

    def init_weights(self) -> None:
        """Draw the weights as the paper's published code does.

        Convolutions, those of the gates too, are normal with variance 2 / (kernel area * output channels), also grouped
        ones; the linear layer is normal with standard deviation 0.01, its bias zero; what is left keeps PyTorch's
        default.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                area = module.kernel_size[0] * module.kernel_size[1]
                nn.init.normal_(module.weight, std=(2 / (area * module.out_channels)) ** 0.5)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.stem(x))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def raresnet(num_classes: int = 1000) -> RaResNet:
    """RaResNet at the depths and widths of ResNet-50, of which the rule "raresnet-50" makes RaResNet-50.

    (N, 3, 224, 224) -> (N, num_classes), 22,078,688 parameters. The rule's result has 26,130,609, RaResNet-50 itself
    26,143,228: a gate is a quarter as wide as its block's input, and that of a stage's first block is the stage before,
    which the rule scales otherwise.
    """
    return RaResNet((3, 4, 6, 3), (256, 512, 1024, 2048), num_classes=num_classes)


def raresnet50(num_classes: int = 1000) -> RaResNet:
    """RaResNet-50: (N, 3, 224, 224) -> (N, num_classes), 26,143,228 parameters (printed: 26 M)."""
    return RaResNet((5, 8, 13, 1), (288, 576, 1120, 2160), num_classes=num_classes)


def raresnet101(num_classes: int = 1000) -> RaResNet:
    """RaResNet-101: (N, 3, 224, 224) -> (N, num_classes), 45,901,928 parameters (printed: 46 M)."""
    return RaResNet((7, 11, 18, 1), (336, 672, 1328, 2624), num_classes=num_classes)


def rawrn101_2(num_classes: int = 1000) -> RaResNet:
    """RaWRN-101-2: (N, 3, 224, 224) -> (N, num_classes), 104,065,776 parameters (printed: 104 M)."""
    return RaResNet((7, 11, 18, 1), (512, 1024, 2016, 4032), num_classes=num_classes)
