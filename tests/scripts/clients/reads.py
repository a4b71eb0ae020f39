"""A script that reads its arguments, its own place, and files beside it and in the working directory."""

import pathlib
import sys

import torch
from models import resnet8
from steps import train

print("arguments", sys.argv[1:])
assert pathlib.Path(sys.argv[0]).name == pathlib.Path(__file__).name == "reads.py"
assert pathlib.Path(sys.path[0]) == pathlib.Path(__file__).resolve().parent
assert sys.modules["__main__"].__file__ == __file__
assert pathlib.Path(__file__).with_name("steps.py").is_file()
torch.manual_seed(int(pathlib.Path("seed.txt").read_text()))
train(resnet8())
sys.exit(5)
