"""What ``torch.hub`` finds in this repository: the -R variant of any network, and those of the paper, by name.

    torch.hub.load("owner/reconfig", "variant", "timm:resnet50", "10-10-4", gamma=1.5)
    torch.hub.load("owner/reconfig", "wrn34_r")

All have fresh weights; an original that loads its own, as "timm:resnet50?pretrained=True" does, hands them on with
``weights="inherit"``.
"""

from __future__ import annotations

from typing import Any as _Any  # torch.hub lists whatever can be called

import torch as _torch

import reconfig as _reconfig
from reconfig.networks import build as _build
from reconfig.plugins.request import Request as _Request

dependencies = ["torch", "numpy", "fvcore", "lazy_loader", "cattrs"]


def variant(network: str, rule: str | _reconfig.Rule = "10-10-4", **options: _Any) -> _torch.nn.Module:
    """The -R variant of a network.

    Args:
        network: its name, such as "timm:resnet50", "torchvision:resnet18?num_classes=10", "zoo:wrn?depth=28&widen=4",
            "package.module:Factory", "file.py:Net" or "hub:owner/repo:name".
        rule: widths in tenths ("10-10-4"), blocks per stage ("d9-7-1"), both, or a named rule.
        options: those of ``reconfig.plan``: gamma, budget, weights, stages, outputs, strict, example_input.

    Raises:
        NetworkError: the name does not parse or names nothing.
        TypeError: an option that ``reconfig.plan`` does not take.
        ReconfigError: as ``reconfig.plan`` does.
    """
    request = _Request("variant", rule, options)
    original = _build(network)
    return request.plan(original).apply(original)


def wrn34_r(num_classes: int = 10) -> _torch.nn.Module:
    """WRN-34-R of the paper: WRN-34-10 at "10-10-4" and gamma 2, 68.1 million parameters, for 32x32 images."""
    return variant(f"zoo:wrn34_10?num_classes={num_classes}", gamma=2)


def vgg11_r(num_classes: int = 10) -> _torch.nn.Module:
    """VGG-11 at "10-10-4", for 32x32 images."""
    return variant(f"zoo:vgg11?num_classes={num_classes}")


def densenet121_r(num_classes: int = 10) -> _torch.nn.Module:
    """DenseNet-121 at "10-10-4", for 32x32 images."""
    return variant(f"zoo:densenet121?num_classes={num_classes}")


def darts_r(num_classes: int = 10) -> _torch.nn.Module:
    """The cell of DARTS at "10-10-4", for 32x32 images."""
    return variant(f"zoo:darts?num_classes={num_classes}")
