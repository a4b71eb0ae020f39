"""VGG with batch normalisation, for 32x32 images (Simonyan & Zisserman, ICLR 2015)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

# The widths of the 3x3 convolutions; a 2x2 max pool ends each of the five stages.
_VGG11 = ((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2)
_VGG13 = ((64,) * 2, (128,) * 2, (256,) * 2, (512,) * 2, (512,) * 2)
_VGG16 = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)
_VGG19 = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)


class VGG(nn.Module):
    """Stages of biased 3x3 convolutions with BN and ReLU, each ended by a 2x2 max pool; one linear layer.

    Shapes: (N, 3, 32, 32) -> (N, num_classes). Module names (`features`, `classifier`) and the
    initialisation, which is PyTorch's default, are those of the paper's published code.

    Args:
        stages: the convolutions' widths, one sequence a stage; five stages take 32x32 to 1x1.
        num_classes: the number of logits.
    """

    def __init__(self, stages: Sequence[Sequence[int]], num_classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for stage in stages:
            for new_width in stage:
                conv = nn.Conv2d(width, new_width, kernel_size=3, padding=1)
                layers += [conv, nn.BatchNorm2d(new_width), nn.ReLU(inplace=True)]
                width = new_width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


def vgg11(num_classes: int = 10) -> VGG:
    """VGG-11, the paper's (Huang et al. 2021, table 2).

    (N, 3, 32, 32) -> (N, num_classes), 9,231,114 parameters.
    """
    return VGG(_VGG11, num_classes)


def vgg13(num_classes: int = 10) -> VGG:
    """VGG-13: (N, 3, 32, 32) -> (N, num_classes), 9,416,010 parameters."""
    return VGG(_VGG13, num_classes)


def vgg16(num_classes: int = 10) -> VGG:
    """VGG-16: (N, 3, 32, 32) -> (N, num_classes), 14,728,266 parameters."""
    return VGG(_VGG16, num_classes)


def vgg19(num_classes: int = 10) -> VGG:
    """VGG-19: (N, 3, 32, 32) -> (N, num_classes), 20,040,522 parameters."""
    return VGG(_VGG19, num_classes)
