"""What a ResNet of torchvision publishes."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from reconfig.planning.published.seen import Said, Seen


def inplanes(seen: Seen, path: str, module: nn.Module) -> Iterator[Said]:
    """The channels that one more layer would take: what ``layer4`` gives."""
    name = f"{path}.layer4" if path else "layer4"
    for extent in seen.matching(seen.given(name), module.inplanes):
        yield "inplanes", [extent]
