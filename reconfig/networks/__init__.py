"""Networks by name: ``timm:resnet50``, ``zoo:wrn?depth=28&widen=4``, ``package.module:Factory``, ``file.py:Net``.

    model = networks.build("zoo:wrn?depth=28&widen=4")
    name = networks.NetworkName.parse("timm:resnet50?num_classes=10")

What a name says is imported and called: build no name from someone whose code you would not run.
"""

from reconfig.networks.build import build
from reconfig.networks.name import NetworkName

__all__ = ["NetworkName", "build"]
