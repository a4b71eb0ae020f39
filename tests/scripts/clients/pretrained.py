"""Weights of the original are loaded before the network is moved, or after (--late)."""

import sys

import torch
from models import ResNet, resnet8
from steps import batch, train

if "--make" in sys.argv:
    torch.manual_seed(3)
    net = ResNet()
    torch.save(net.state_dict(), "original.pt")
    torch.save(net.eval()(batch()[0]), "original_scores.pt")
    sys.exit()
net = resnet8()
if "--late" in sys.argv:
    net.to("cpu")
net.load_state_dict(torch.load("original.pt"))
net.to("cpu")
net.eval()
with torch.no_grad():
    print("same", torch.allclose(net(batch()[0]), torch.load("original_scores.pt"), atol=1e-5))
train(net.train())
