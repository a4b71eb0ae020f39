"""torchvision's builder; its stem and its head are replaced, with numbers written in the code."""

import torch
import torchvision.models as models
from steps import train
from torch import nn

torch.manual_seed(0)
net = models.__dict__["resnet18"]()
net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
net.maxpool = nn.Identity()
net.fc = nn.Linear(512, 10)
train(net.to("cpu"))
