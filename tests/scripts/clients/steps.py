"""What the scripts of this folder do with a network: one step of training, and what came of it."""

import torch
import torch.nn.functional as F


def batch(size=8, resolution=32):
    generator = torch.Generator().manual_seed(7)
    return torch.rand(size, 3, resolution, resolution, generator=generator), torch.arange(size) % 10


def step(net, optimizer, images, labels):
    loss = F.cross_entropy(net(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def train(net, resolution=32):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    print(f"loss {step(net, optimizer, *batch(resolution=resolution)):.6f}, {count(net)} parameters")
