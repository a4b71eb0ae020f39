"""What backbones publish for detectors (torchvision), and encoders for decoders (segmentation_models_pytorch)."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from reconfig.planning.published.seen import Said, Seen


def out_channels(seen: Seen, path: str, module: nn.Module) -> Iterator[Said]:
    """The channels that the module gives; several, where it gives several feature maps."""
    return _out_channels(seen, path, module, "out_channels")


def out_channels_of_encoder(seen: Seen, path: str, module: nn.Module) -> Iterator[Said]:
    """The same, where ``out_channels`` is a property."""
    return _out_channels(seen, path, module, "_out_channels")


def _out_channels(seen: Seen, path: str, module: nn.Module, name: str) -> Iterator[Said]:
    numbers = getattr(module, name)
    given = seen.given(path)
    if isinstance(numbers, list | tuple):
        # One for each map, the input itself first; more than there are maps where the encoder is used in part.
        pairs = list(zip(given, numbers, strict=False))
        if len(given) <= len(numbers) and all(seen.matching([extent], number) for extent, number in pairs):
            rest = [((number,),) for number in numbers[len(given) :]]
            yield name, [*given, *rest]
    else:
        for extent in seen.matching(given, numbers):
            yield name, [extent]
