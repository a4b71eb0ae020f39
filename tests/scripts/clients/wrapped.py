"""A network that is wrapped in DataParallel at once."""

import torch
from models import resnet8
from steps import train

torch.manual_seed(0)
net = torch.nn.DataParallel(resnet8())
assert isinstance(net.module, torch.nn.Module)
train(net.to("cpu"))
