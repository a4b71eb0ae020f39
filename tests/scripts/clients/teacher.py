"""A student that learns from a teacher."""

import torch
from models import resnet8, resnet14
from steps import train

torch.manual_seed(0)
teacher = resnet14().eval().to("cpu")
student = resnet8().to("cpu")
print("teacher", sum(parameter.numel() for parameter in teacher.parameters()))
train(student)
