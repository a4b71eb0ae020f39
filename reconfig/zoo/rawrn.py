"""RaWRN for 32x32 images (Peng et al., Robust Principles, BMVC 2023): a wide residual network by their principles."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from reconfig.zoo.gates import SqueezeExcite


class RaBasicBlock(nn.Module):
    """BN-SiLU-conv3x3-BN-SiLU-conv3x3, squeeze-and-excitation with a quarter of the channels, and the residual.

    Where the width changes, conv1x1 carries the activated input. A convolution of stride 2 pads right and below alone.
    """

    def __init__(self, width: int, new_width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width, momentum=0.01)
        self.conv1 = nn.Conv2d(width, new_width, kernel_size=3, stride=stride, bias=False)
        self.bn2 = nn.BatchNorm2d(new_width, momentum=0.01)
        self.conv2 = nn.Conv2d(new_width, new_width, kernel_size=3, padding=1, bias=False)
        self.gate = SqueezeExcite(new_width, round(0.25 * new_width), bias=True)
        self.pad = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)
        self.shortcut = nn.Sequential()
        if width != new_width:
            self.shortcut.append(nn.Conv2d(width, new_width, kernel_size=1, stride=stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out = F.silu(self.bn1(x))
        residual = self.shortcut(out) if len(self.shortcut) else x
        out = F.silu(self.bn2(self.conv1(F.pad(out, self.pad))))
        return residual + self.gate(self.conv2(out))


class RaWideResNet(nn.Module):
    """A 3x3 stem, stages of gated pre-activation blocks, BN-SiLU, global average pooling, one linear layer.

    Shapes: (N, 3, H, W) -> (N, num_classes). Nothing normalises the images here, as in all of this package; the paper's
    code subtracts their mean and divides by their standard deviation first.

    Args:
        depths: blocks in each stage.
        widths: the width of each stage; the first keeps the resolution, each further one halves it.
        stem: the width of the stem.
        num_classes: the number of logits.
    """

    def __init__(self, depths: Sequence[int], widths: Sequence[int], stem: int = 96, num_classes: int = 10) -> None:
        super().__init__()
        self.stem_conv = nn.Conv2d(3, stem, kernel_size=3, padding=1, bias=False)
        self.blocks = nn.ModuleList()
        width = stem
        for index, (depth, new_width) in enumerate(zip(depths, widths, strict=True)):
            stage = nn.Sequential(RaBasicBlock(width, new_width, 1 if index == 0 else 2))
            width = new_width
            for _ in range(depth - 1):
                stage.append(RaBasicBlock(width, width, 1))
            self.blocks.append(stage)
        self.bn1 = nn.BatchNorm2d(width, momentum=0.01)
        self.fc = nn.Linear(width, num_classes)
        self.init_weights()

    def init_weights(self) -> None:
        """Draw the weights as the paper's published code does.

        Convolutions, those of the gates too, are normal with variance 2 / fan-out, batch norms the identity; the linear
        layer's bias is zero; what is left keeps PyTorch's default.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_conv(x)
        for block in self.blocks:
            x = block(x)
        x = F.adaptive_avg_pool2d(F.silu(self.bn1(x)), 1)
        return self.fc(x.flatten(1))


def rawrn(depth: int, widen: int, num_classes: int = 10) -> RaWideResNet:
    """WRN-`depth`-`widen` with the stem, gates and activation of RaWRN, at its own depths and widths.

    (N, 3, 32, 32) -> (N, num_classes). The rule "rawrn-70-16" makes RaWRN-70-16 of rawrn(70, 16).

    Raises:
        ValueError: `depth` is not 6n + 4, or `widen` is below 1.
    """
    if depth < 10 or (depth - 4) % 6 or widen < 1:
        raise ValueError(f"rawrn: depth={depth} must be 6n + 4, and widen={widen} at least 1. Try rawrn(70, 16).")
    return RaWideResNet([(depth - 4) // 6] * 3, [16 * widen, 32 * widen, 64 * widen], num_classes=num_classes)


def rawrn70_16(num_classes: int = 10) -> RaWideResNet:
    """RaWRN-70-16: (N, 3, 32, 32) -> (N, num_classes), 267,240,802 parameters."""
    return RaWideResNet((30, 31, 10), (216, 432, 864), num_classes=num_classes)
