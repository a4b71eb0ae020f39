"""References to parts of the network, and hooks on them, from before it is used."""

import torch
from models import resnet8
from steps import batch, count, step

torch.manual_seed(0)
net = resnet8()
seen = []
layer = net.layer3
handle = layer.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
net.to("cpu")
net(batch()[0])
print(seen[0], count(layer), count(net.layer3))
handle.remove()
optimizer = torch.optim.SGD([{"params": layer.parameters(), "lr": 0.1}, {"params": net.fc.parameters()}], lr=0.01)
step(net, optimizer, *batch())
layer.eval()
print(len(seen), net.layer3.training)
