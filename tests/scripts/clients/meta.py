"""A network that is made without memory, and filled afterwards."""

import torch
from models import resnet8
from steps import train

torch.manual_seed(0)
with torch.device("meta"):
    net = resnet8()
net = net.to_empty(device="cpu")
for module in net.modules():
    if hasattr(module, "reset_parameters"):
        module.reset_parameters()
train(net)
