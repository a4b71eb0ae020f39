"""A network of an experiment as a value: its name, and what a rule makes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from reconfig.networks import NetworkName

Budget = Literal["params", "flops"] | int | tuple[Literal["params", "flops"], int] | None
"""What gamma is solved for."""


@dataclass(frozen=True)
class Network:
    """A network by its name, and what to make of it.

    Raises:
        NetworkError: The name does not parse.
    """

    model: str
    """As in zoo:vgg11, timm:resnet10t, torchvision:resnet18, package.module:Factory or file.py:Net, with arguments as
    in zoo:wrn?depth=28&widen=4. It is built for the classes of the data."""
    rule: str | None = None
    """Stage rule given to reconfig.plan, such as 10-10-4; None leaves the network as its factory made it."""
    gamma: float = 1.0
    """Factor on every width."""
    budget: Budget = None
    """Solve gamma so that the parameters or FLOPs stay at the original's, or at a number: 5000000 for parameters,
    flops 300000000 for multiply-adds."""
    weights: str | None = None
    """A file of weights to begin with, as attack.py --weights takes it: those of the network before its rule, which it
    then inherits of. None draws them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", whole(self.model))
        if self.weights is not None:
            object.__setattr__(self, "weights", str(Path(self.weights).expanduser().resolve()))

    @property
    def name(self) -> str:
        """The network in one line, as tables show it."""
        parts = [short(self.model)]
        if self.rule is not None:
            parts.append(self.rule)
            parts.extend([f"γ={self.gamma:g}"] if self.gamma != 1 else [])
            budget = f"{self.budget[1]:,} {self.budget[0]}" if isinstance(self.budget, tuple) else self.budget
            parts.extend([f"budget={budget}"] if budget is not None else [])
        parts.extend([f"from {Path(self.weights).name}"] if self.weights is not None else [])
        return " ".join(parts)


def whole(model: str) -> str:
    """``model`` as any folder and process finds it: a file by its absolute path.

    Raises:
        NetworkError: The name does not parse.
    """
    name = NetworkName.parse(model)
    return str(replace(name, source=str(Path(name.source).expanduser().resolve())) if name.is_file else name)


def short(model: str) -> str:
    """``model`` as tables show it: a file without its folders."""
    name = NetworkName.parse(model)
    return str(replace(name, source=Path(name.source).name) if name.is_file else name)
