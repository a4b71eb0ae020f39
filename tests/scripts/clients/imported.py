"""A class that is imported from a package."""

import torch
from models.resnet import ResNet
from steps import train

torch.manual_seed(0)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
net = ResNet().to(device)
train(net)
