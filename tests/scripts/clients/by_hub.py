"""torch.hub, from a folder beside the script."""

import os

import torch
from steps import train

torch.manual_seed(0)
folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hub")
train(torch.hub.load(folder, "tiny", source="local", width=32))
