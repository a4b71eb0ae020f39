"""A network that gets its shapes in its first forward."""

import torch
from steps import train
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(
    nn.LazyConv2d(16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.LazyConv2d(32, 3, padding=1),
    nn.ReLU(),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.LazyLinear(10),
).to("cpu")
net(torch.rand(2, 3, 32, 32))
train(net)
