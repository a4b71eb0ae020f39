"""A network that takes two images."""

import torch
from steps import batch
from torch import nn


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Conv2d(3, 16, 3)
        self.right = nn.Conv2d(3, 16, 3)

    def forward(self, left, right):
        return torch.cat([self.left(left), self.right(right)], 1).mean((2, 3))


net = Pair().to("cpu")
print(net(batch()[0], batch()[0]).shape)
