"""A network together with the normalisation that it is trained behind, so that attacks stay in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Normalised(nn.Module):
    """``model`` on images in [0, 1], of which it is given (image - mean) / std by channel.

    The numbers are in the state dict as ``mean`` and ``std``, beside the model's own names under ``model.``.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.model((images - self.mean) / self.std)


class Moments(NamedTuple):
    """Mean and standard deviation of images in [0, 1], a number a channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __str__(self) -> str:
        """As the options of a command have them."""
        mean, std = (" ".join(f"{value:.4g}" for value in values) for values in self)
        return f"mean {mean}, std {std}"


def behind(model: nn.Module, moments: Moments | None) -> nn.Module:
    """``model`` behind the normalisation by ``moments``; itself where there are none."""
    return model if moments is None else Normalised(model, *moments)


def bare(model: nn.Module) -> nn.Module:
    """The network behind a normalisation; ``model`` itself where there is none."""
    return model.model if isinstance(model, Normalised) else model


KNOWN: dict[str, Moments] = {
    "imagenet": Moments((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": Moments((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": Moments((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "plus-minus-one": Moments((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "to-255": Moments((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}
"""Each normalisation that is met with; the last two are the ranges [-1, 1], [0, 255]."""
