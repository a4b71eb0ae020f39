import sys

from models import resnet8
from steps import train

from .settings import SEED

import torch  # isort: skip

if __name__ == "__main__":
    torch.manual_seed(SEED)
    train(resnet8())
    print("arguments", sys.argv[1:], "of", __spec__.name)
