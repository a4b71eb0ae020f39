"""Loads a checkpoint and sees that it gives what it gave."""

import os
import sys

import torch
from models import resnet8
from steps import batch, count

path = sys.argv[1]
if path == "whole.pt":
    net = torch.load(path, weights_only=False)
elif path == "state.pt" and "--inside" in sys.argv:
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hub")
    net = torch.hub.load(folder, "loaded", path, source="local")  # loads it before it returns
elif path == "wrapped.pt":
    net = torch.nn.DataParallel(resnet8())
    net.load_state_dict(torch.load(path))
else:
    net = resnet8()
    net.load_state_dict(torch.load(path))
net.eval()
with torch.no_grad():
    assert torch.equal(net(batch()[0]), torch.load("scores.pt"))
print(f"evaluated, {count(net)} parameters")
