"""Averages of the weights: copied before the network is used, and after, and made by the library."""

import copy

import torch
from models import resnet8
from steps import batch, count, step
from torch.optim.swa_utils import AveragedModel

torch.manual_seed(0)
net = resnet8()
before = copy.deepcopy(net)
for parameter in before.parameters():
    parameter.requires_grad_(False)
net.to("cpu")
after = copy.deepcopy(net)
library = AveragedModel(net)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
print(f"loss {step(net, optimizer, *batch()):.6f}, {count(net)} parameters")
library.update_parameters(net)
with torch.no_grad():
    for average in (before, after):
        for mine, its in zip(average.parameters(), net.parameters(), strict=True):
            mine.lerp_(its, 0.1)
assert count(before) == count(after) == count(library) == count(net)
