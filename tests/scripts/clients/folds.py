"""The same network made again for each fold, one made in parts, and another one after training."""

import torch
from models import ResNet, resnet8, resnet14
from steps import train
from torch import nn


class Scorer(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = ResNet().to("cpu")  # in the making: not yet the whole network
        self.backbone.fc = nn.Identity()
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.backbone(x))


for fold in range(2):
    torch.manual_seed(fold)
    train(Scorer())
other = resnet8().to("cpu")
print("another", sum(parameter.numel() for parameter in other.parameters()), resnet14 is not None)
