"""What a measure tells those who watch it: which part runs, how often the network ran, how many images still stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn


class Passes(NamedTuple):
    """How often a network runs for one image."""

    gradients: float = 0
    """With the gradient of the image."""
    runs: float = 0
    """Forward alone."""


class Rates(NamedTuple):
    """How long that takes, in seconds an image."""

    gradient: float
    run: float

    def seconds(self, passes: Passes) -> float:
        """Of so many passes of one image."""
        return passes.gradients * self.gradient + passes.runs * self.run


@dataclass(frozen=True)
class Part:
    """A part of the work of measuring."""

    name: str
    """Such as PGD-20, or AutoAttack: FAB-T."""
    images: int
    passes: Passes
    """For each image, if the network stays right on it to the end."""
    rates: Rates

    @property
    def seconds(self) -> float:
        """What it takes at most."""
        return self.images * self.rates.seconds(self.passes)


class Watch(Protocol):
    """Watches a network being measured."""

    def ahead(self, parts: Sequence[Part]) -> None:
        """This is to be done. What of it was done before is said as it is come to."""

    def part(self, name: str, images: int, of: int) -> None:
        """A part begins, or a further piece of it: on ``images`` of the next ``of``, on the others of which it is
        known already.
        """

    def ran(self, images: int, gradient: bool) -> None:
        """The network ran on so many images."""

    def judged(self, images: int, right: int) -> None:
        """So many more images of the part are done, and on so many of them the network is still right."""


@contextmanager
def counted(model: nn.Module, watch: Watch | None) -> Iterator[None]:
    """Within, ``watch`` hears of every run of ``model``."""
    if watch is None:
        yield
        return

    def tell(_module: nn.Module, inputs: tuple[Any, ...], _output: Any) -> None:
        images: Tensor = inputs[0]
        watch.ran(len(images), torch.is_grad_enabled() and images.requires_grad)

    handle = model.register_forward_hook(tell)
    try:
        yield
    finally:
        handle.remove()
