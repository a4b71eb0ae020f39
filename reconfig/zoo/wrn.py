"""Wide residual networks for 32x32 images (Zagoruyko & Komodakis, BMVC 2016), as the paper has them."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """BN-ReLU-conv3x3-BN-ReLU-conv3x3 and the residual; conv1x1 carries that where the shape changes."""

    def __init__(self, width: int, new_width: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, new_width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(new_width)
        self.conv2 = nn.Conv2d(new_width, new_width, kernel_size=3, padding=1, bias=False)
        self.dropout = dropout
        self.convShortcut: nn.Conv2d | None = None  # RobustBench's name
        if width != new_width or stride != 1:
            self.convShortcut = nn.Conv2d(width, new_width, kernel_size=1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        # The 1x1 convolution takes the activated input; the identity takes the raw one.
        residual = x if self.convShortcut is None else self.convShortcut(out)
        out = F.relu(self.bn2(self.conv1(out)))
        if self.dropout > 0:
            out = F.dropout(out, p=self.dropout, training=self.training)
        return residual + self.conv2(out)


class NetworkBlock(nn.Module):
    """One stage: `depth` basic blocks, the first of which takes the stride and the change of width."""

    def __init__(self, depth: int, width: int, new_width: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.layer = nn.Sequential(BasicBlock(width, new_width, stride, dropout))
        for _ in range(depth - 1):
            self.layer.append(BasicBlock(new_width, new_width, 1, dropout))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class WideResNet(nn.Module):
    """A 3x3 stem, stages of pre-activation basic blocks, BN-ReLU, global average pooling, one linear layer.

    Shapes: (N, 3, H, W) -> (N, num_classes). State-dict keys are those of RobustBench's `RobustWideResNet`.

    Args:
        depths: basic blocks in each stage.
        widths: the width of each stage; the first keeps the resolution, each further one halves it.
        stem: the width of the stem.
        num_classes: the number of logits.
        dropout: the probability of dropout between a block's two convolutions.
        stem_stride: 2 halves the resolution before the first stage, as is usual for images of 64x64.
    """

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int],
        stem: int = 16,
        num_classes: int = 10,
        dropout: float = 0.0,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        self.stem_conv = nn.Conv2d(3, stem, kernel_size=3, stride=stem_stride, padding=1, bias=False)
        self.blocks = nn.ModuleList()
        width = stem
        for index, (depth, new_width) in enumerate(zip(depths, widths, strict=True)):
            stride = 1 if index == 0 else 2
            self.blocks.append(NetworkBlock(depth, width, new_width, stride, dropout))
            width = new_width
        self.bn1 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, num_classes)
        self.init_weights()

    def init_weights(self) -> None:
        """Draw the weights as the paper's published code does.

        Convolutions are normal with variance 2 / fan-out, batch norms the identity; the linear layer's bias
        is zero, its weight keeps PyTorch's default.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
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


def wrn(depth: int, widen: int, num_classes: int = 10, dropout: float = 0.0, stem_stride: int = 1) -> WideResNet:
    """WRN-`depth`-`widen`: three stages of (depth - 4) / 6 basic blocks, 16, 32 and 64 times `widen` wide.

    (N, 3, 32, 32) -> (N, num_classes).

    Args:
        depth: the number of convolutions, 6n + 4.
        widen: the factor on the widths, 1 or more; the stem is 16 wide whatever it is.
        num_classes: the number of logits.
        dropout: the probability of dropout between a block's two convolutions.
        stem_stride: 2 halves the resolution before the first stage, as is usual for images of 64x64.

    Raises:
        ValueError: `depth` is not 6n + 4, `widen` or `stem_stride` is below 1, or `dropout` is outside [0, 1).
    """
    if depth < 10 or (depth - 4) % 6:
        below = max(10, depth - (depth - 4) % 6)
        raise ValueError(
            f"wrn: depth={depth} is not 6n + 4 (three stages of n blocks of two convolutions, four layers "
            f"more). Try wrn({below}, {widen}) or wrn({below + 6}, {widen})."
        )
    if widen < 1:
        raise ValueError(f"wrn: widen={widen} must be at least 1. Try wrn({depth}, 1).")
    if stem_stride < 1:
        raise ValueError(
            f"wrn: stem_stride={stem_stride} must be at least 1. Try wrn({depth}, {widen}, stem_stride=2)."
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"wrn: dropout={dropout} must be in [0, 1). Try wrn({depth}, {widen}, dropout=0.3).")
    widths = [16 * widen, 32 * widen, 64 * widen]
    return WideResNet([(depth - 4) // 6] * 3, widths, 16, num_classes, dropout, stem_stride)


def wrn28_10(num_classes: int = 10, dropout: float = 0.0) -> WideResNet:
    """WRN-28-10: (N, 3, 32, 32) -> (N, num_classes), 36,479,194 parameters; see `wrn`."""
    return wrn(28, 10, num_classes, dropout)


def wrn34_10(num_classes: int = 10, dropout: float = 0.0) -> WideResNet:
    """WRN-34-10, which the paper reconfigures (Huang et al. 2021, sections 3 and 4).

    (N, 3, 32, 32) -> (N, num_classes), 46,160,474 parameters; see `wrn`.
    """
    return wrn(34, 10, num_classes, dropout)


def wrn34_12(num_classes: int = 10, dropout: float = 0.0) -> WideResNet:
    """WRN-34-12, the paper's baseline for WRN-34-R (Huang et al. 2021, table 2).

    (N, 3, 32, 32) -> (N, num_classes), 66,457,818 parameters; see `wrn`.
    """
    return wrn(34, 12, num_classes, dropout)


def wrn46_14(num_classes: int = 10, dropout: float = 0.0) -> WideResNet:
    """WRN-46-14: (N, 3, 32, 32) -> (N, num_classes), 128,389,210 parameters; see `wrn`."""
    return wrn(46, 14, num_classes, dropout)


def wrn70_16(num_classes: int = 10, dropout: float = 0.0) -> WideResNet:
    """WRN-70-16: (N, 3, 32, 32) -> (N, num_classes), 266,796,506 parameters; see `wrn`."""
    return wrn(70, 16, num_classes, dropout)
