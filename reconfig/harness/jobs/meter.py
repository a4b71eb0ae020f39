"""How far measuring has come, and how long the rest takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from reconfig.harness.watching import Part, Passes

_ENOUGH = 5.0
"""Seconds of a piece after which its own speed counts, rather than that of all before it."""


def duration(seconds: float) -> str:
    """Seconds in hours, minutes and whole seconds."""
    return str(timedelta(seconds=round(seconds)))


class Meter:
    """Adds up what a ``Watch`` hears. What is ahead is known in seconds by a timed batch, and so is what was done; the
    clock says how right they are.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = {part.name: part for part in parts}
        self.order = [*self.parts]
        self.left = {part.name: part.images for part in parts}
        """Images of which no piece has begun."""
        self.begun = time.monotonic()
        self.work = 0.0
        """Seconds of work done, by the timed batch."""
        self.before = self.standing = 0
        """Images of the measure on which all its parts are done; those on which the network is right."""
        self._piece(self.order[0], 0, 0)

    def part(self, name: str, images: int, of: int) -> None:
        """See ``Watch.part``."""
        if not _same(name, self.name):
            self.before = self.standing = 0
            done = self.order[: self.order.index(name)]
            self.left |= dict.fromkeys(done, 0)
        elif self.order.index(name) <= self.order.index(self.name):  # the next shard
            self.before += self.of
            self.standing += self._standing()
        self.left[name] = max(0, self.left[name] - of)
        self._piece(name, images, of)

    def ran(self, images: int, gradient: bool) -> None:
        """See ``Watch.ran``."""
        passes = Passes(gradients=images) if gradient else Passes(runs=images)
        seconds = self.parts[self.name].rates.seconds(passes)
        self.work += seconds
        self.piece_work += seconds

    def judge(self, images: int, right: int) -> None:
        """See ``Watch.judged``."""
        self.judged += images
        self.right += right

    @property
    def piece_seconds(self) -> float:
        """How long the piece has taken so far."""
        return time.monotonic() - self.piece_begun

    @property
    def fraction(self) -> float:
        """How much of all work is done, from 0 to 1."""
        rest = self._rest()
        return self.work / (self.work + rest) if self.work + rest else 1.0

    def seconds_left(self) -> float:
        """How long the rest takes, where each image goes the way of those before it."""
        if self.piece_work and self.piece_seconds > _ENOUGH:
            return self._rest() * self.piece_seconds / self.piece_work
        elapsed = time.monotonic() - self.begun
        return self._rest() * (elapsed / self.work if self.work and elapsed > _ENOUGH else 1.0)

    def text(self) -> str:
        """Where it stands, in a line."""
        number, total = self.order.index(self.name) + 1, self.parts[self.name].images
        done = self.before + self.of - self.images + self.judged
        text = f"{self.name} ({number} of {len(self.order)})  images {done:,}/{total:,}"
        if self.before or self.images < self.of:  # of AutoAttack's other images it is known that they fell
            return text + f"  right on {100 * (self.standing + self._standing()) / (self.before + self.of):.1f} %"
        return text + (f"  right on {100 * self.right / self.judged:.1f} %" if self.judged else "")

    def _piece(self, name: str, images: int, of: int) -> None:
        self.name, self.images, self.of = name, images, of
        self.judged = self.right = 0
        self.piece_work, self.piece_begun = 0.0, time.monotonic()

    def _standing(self) -> int:
        """On how many images of the piece the network is right, as far as is known."""
        return self.images - (self.judged - self.right)

    def _rest(self) -> float:
        """Seconds of work ahead, by the timed batch."""
        piece = 0.0 if self.judged >= self.images else max(0.0, self.images * self._cost(self.name) - self.piece_work)
        standing = self.images / self.of if self.of else 1.0
        return piece + sum(
            images * self._cost(name) * (standing if _same(name, self.name) else 1.0)
            for name, images in self.left.items()
        )

    def _cost(self, name: str) -> float:
        """Seconds of work for an image."""
        return self.parts[name].rates.seconds(self.parts[name].passes)


def _same(name: str, other: str) -> bool:
    """Whether two parts are attacks of one measure."""
    return name.partition(": ")[0] == other.partition(": ")[0]
