"""From a name to a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconfig.networks.calling import call
from reconfig.networks.name import NetworkName
from reconfig.networks.sources import find

if TYPE_CHECKING:
    from torch import nn


def build(name: str | NetworkName) -> nn.Module:
    """The network that ``name`` spells, made as its factory makes it.

    Args:
        name: as in "timm:resnet50", "torchvision:resnet18", "zoo:wrn?depth=28&widen=4", "package.module:Factory",
            "file.py:Net", "hub:owner/repo:name" or "hub:folder:name". Modules are looked for in the working directory
            too, and what a file imports in the file's own folder.

    Raises:
        NetworkError: the name does not parse, or names nothing; a library is missing; an argument does not fit; what is
            imported or called raises, or gives no network. Its cause is what was raised.
    """
    parsed = NetworkName.parse(name) if isinstance(name, str) else name
    with find(parsed) as factory:
        return call(parsed, factory)
