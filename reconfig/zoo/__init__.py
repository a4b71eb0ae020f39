"""The paper's networks, their usual companions, and those of later papers, in plain PyTorch.

Each function makes a freshly initialised model that maps (N, 3, 32, 32), in [0, 1] without normalisation, to
(N, num_classes) logits; RaResNets are for 224x224 images and take 32x32 ones.
"""

from reconfig.zoo.darts import DARTS, darts
from reconfig.zoo.densenet import DenseNet, densenet121
from reconfig.zoo.genotypes import DARTS_V1, DARTS_V2, AmoebaNet, Genotype, NASNet
from reconfig.zoo.raresnet import RaResNet, raresnet, raresnet50, raresnet101, rawrn101_2
from reconfig.zoo.rawrn import RaWideResNet, rawrn, rawrn70_16
from reconfig.zoo.resnet import PreActResNet18, ResNet18, preactresnet18, resnet18
from reconfig.zoo.robustresnet import (
    RobustResNet,
    robustresnet,
    robustresnet_a1,
    robustresnet_a2,
    robustresnet_a3,
    robustresnet_a4,
)
from reconfig.zoo.vgg import VGG, vgg11, vgg13, vgg16, vgg19
from reconfig.zoo.wrn import WideResNet, wrn, wrn28_10, wrn34_10, wrn34_12, wrn46_14, wrn70_16

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
    "RaResNet",
    "RaWideResNet",
    "ResNet18",
    "RobustResNet",
    "WideResNet",
    "darts",
    "densenet121",
    "preactresnet18",
    "raresnet",
    "raresnet50",
    "raresnet101",
    "rawrn",
    "rawrn70_16",
    "rawrn101_2",
    "resnet18",
    "robustresnet",
    "robustresnet_a1",
    "robustresnet_a2",
    "robustresnet_a3",
    "robustresnet_a4",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "wrn",
    "wrn28_10",
    "wrn34_10",
    "wrn34_12",
    "wrn46_14",
    "wrn70_16",
]
