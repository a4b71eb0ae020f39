"""A function that makes the network, chosen by its name."""

import argparse

import models
import torch
from steps import train

parser = argparse.ArgumentParser()
parser.add_argument("--arch", default="resnet8", choices=sorted(name for name in vars(models) if name.islower()))
parser.add_argument("--rule", help="one of its own")
arguments = parser.parse_args()
torch.manual_seed(0)
train(models.__dict__[arguments.arch](classes=10))
