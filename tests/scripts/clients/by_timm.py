"""timm's factory."""

import timm
import torch
from steps import train

torch.manual_seed(0)
model = timm.create_model("test_resnet", num_classes=10)
train(model, resolution=64)
