"""Draws from every generator after the network is made; with --unused, the network stays as it is."""

import random
import sys

import numpy as np
import torch
from models import ResNet, resnet8

random.seed(1)
np.random.seed(1)
torch.manual_seed(1)
net = resnet8()
if "--unused" not in sys.argv:
    net.to("cpu")
print(torch.rand(1).item(), np.random.rand(), random.random())
print(float(net.layer1[0].conv1.weight.sum()), net.fc.in_features)
if "--unused" in sys.argv:
    ResNet().to("cpu")
