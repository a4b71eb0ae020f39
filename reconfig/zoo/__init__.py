"""The paper's networks and their usual companions, for 32x32 images, in plain PyTorch.

Each function makes a freshly initialised model that maps (N, 3, 32, 32), in [0, 1] without normalisation, to
(N, num_classes) logits.
"""

from reconfig.zoo.darts import DARTS, darts
from reconfig.zoo.densenet import DenseNet, densenet121
from reconfig.zoo.genotypes import DARTS_V1, DARTS_V2, AmoebaNet, Genotype, NASNet
from reconfig.zoo.resnet import PreActResNet18, ResNet18, preactresnet18, resnet18
from reconfig.zoo.vgg import VGG, vgg11, vgg13, vgg16, vgg19
from reconfig.zoo.wrn import WideResNet, wrn, wrn28_10, wrn34_10, wrn34_12

__all__ = [
    "DARTS",
    "DARTS_V1",
    "DARTS_V2",
    "VGG",
    "AmoebaNet",
    "DenseNet",
    "Genotype",
    "NASNet",
    "PreActResNet18",
    "ResNet18",
    "WideResNet",
    "darts",
    "densenet121",
    "preactresnet18",
    "resnet18",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "wrn",
    "wrn28_10",
    "wrn34_10",
    "wrn34_12",
]
