"""A network of the script, in words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from reconfig.scripts.births import Birth
from reconfig.scripts.chosen import Chosen, choice_of


@dataclass(frozen=True)
class Network:
    """What the user is told about a network; it does not lead to the network.

    Attributes:
        name: its class's.
        birth: how it was made; None for one that was copied or loaded from a file.
        choice: how ``--model`` names it.
    """

    name: str
    birth: Birth | None
    choice: Chosen

    def choice_among(self, networks: Sequence[Network]) -> Chosen:
        """How ``--model`` names it and no other: by the function that made it, where others have its class."""
        alike = [other for other in networks if other.choice == self.choice]
        place = self.birth.places[0] if self.birth is not None and self.birth.places else None
        if len(alike) < 2 or place is None or not place.function or "<" in place.function:
            return self.choice
        return Chosen(os.path.realpath(place.file), place.function)

    @classmethod
    def of(cls, module: nn.Module, birth: Birth | None) -> Network:
        """``module`` in words."""
        return cls(type(module).__name__, birth, choice_of(module))

    def __str__(self) -> str:
        return f"{self.name}, {self.birth or 'copied or loaded from a file'}"
