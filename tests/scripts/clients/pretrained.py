"""Weights of the original are loaded before the network is moved, or after (--late), or with it (--whole)."""

import sys

import torch
from models import resnet8
from steps import batch, train

net = torch.load("whole.pt", weights_only=False) if "--whole" in sys.argv else resnet8()
if "--late" in sys.argv:
    net.to("cpu")
if "--whole" not in sys.argv:
    net.load_state_dict(torch.load("original.pt"))
net.to("cpu")
net.eval()
with torch.no_grad():
    print("same", torch.allclose(net(batch()[0]), torch.load("original_scores.pt"), atol=1e-5))
train(net.train())
