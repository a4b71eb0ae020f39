"""Trains, and saves a checkpoint in three ways."""

import torch
from models import resnet8
from steps import batch, count, step

torch.manual_seed(0)
net = resnet8()
wrapped = torch.nn.DataParallel(net)
optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
print(f"loss {step(wrapped, optimizer, *batch()):.6f}, {count(net)} parameters")
torch.save(net.state_dict(), "state.pt")
torch.save(wrapped.state_dict(), "wrapped.pt")
torch.save(net, "whole.pt")
net.eval()
torch.save(net(batch()[0]), "scores.pt")
