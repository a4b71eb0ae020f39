"""ResNet-18 and PreAct-ResNet-18 for 32x32 images (He et al., CVPR 2016 and ECCV 2016).

The variants that adversarial training is usually reported on: a 3x3 stem without a pool, four stages, one
linear layer. Module names and PyTorch's default initialisation as in the widespread CIFAR implementations.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """conv3x3-BN-ReLU-conv3x3-BN, the residual, ReLU; conv1x1-BN carries that where the shape changes."""

    def __init__(self, width: int, new_width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, new_width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(new_width)
        self.conv2 = nn.Conv2d(new_width, new_width, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(new_width)
        self.shortcut = nn.Sequential()
        if width != new_width or stride != 1:
            self.shortcut.append(nn.Conv2d(width, new_width, kernel_size=1, stride=stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(new_width))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class PreActBlock(nn.Module):
    """BN-ReLU-conv3x3-BN-ReLU-conv3x3 and the residual; conv1x1 carries that where the shape changes."""

    def __init__(self, width: int, new_width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, new_width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(new_width)
        self.conv2 = nn.Conv2d(new_width, new_width, kernel_size=3, padding=1, bias=False)
        self.shortcut = nn.Sequential()
        if width != new_width or stride != 1:
            self.shortcut.append(nn.Conv2d(width, new_width, kernel_size=1, stride=stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        # The 1x1 convolution takes the activated input; the identity takes the raw one.
        residual = self.shortcut(out) if len(self.shortcut) else x
        out = F.relu(self.bn2(self.conv1(out)))
        return residual + self.conv2(out)


def _stage(block: type[BasicBlock] | type[PreActBlock], width: int, new_width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(block(width, new_width, stride), block(new_width, new_width, 1))


class ResNet18(nn.Module):
    """Stages of two basic blocks, 64, 128, 256 and 512 wide: (N, 3, H, W) -> (N, num_classes)."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(BasicBlock, 64, 64, stride=1)
        self.layer2 = _stage(BasicBlock, 64, 128, stride=2)
        self.layer3 = _stage(BasicBlock, 128, 256, stride=2)
        self.layer4 = _stage(BasicBlock, 256, 512, stride=2)
        self.linear = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


class PreActResNet18(nn.Module):
    """Stages of two pre-activation blocks, 64, 128, 256 and 512 wide: (N, 3, H, W) -> (N, num_classes).

    As is usual on CIFAR, nothing normalises or activates between the last block and the pooling.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
        self.layer1 = _stage(PreActBlock, 64, 64, stride=1)
        self.layer2 = _stage(PreActBlock, 64, 128, stride=2)
        self.layer3 = _stage(PreActBlock, 128, 256, stride=2)
        self.layer4 = _stage(PreActBlock, 256, 512, stride=2)
        self.linear = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


def resnet18(num_classes: int = 10) -> ResNet18:
    """ResNet-18 for CIFAR: (N, 3, 32, 32) -> (N, num_classes), 11,173,962 parameters."""
    return ResNet18(num_classes)


def preactresnet18(num_classes: int = 10) -> PreActResNet18:
    """PreAct-ResNet-18 for CIFAR: (N, 3, 32, 32) -> (N, num_classes), 11,171,146 parameters."""
    return PreActResNet18(num_classes)
