"""A search as a value: which network, what is held fixed, and how long it may take. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from reconfig.harness.experiment import Evaluate, Setting
from reconfig.harness.fields import at_least, positive
from reconfig.harness.network import Network
from reconfig.harness.sweep import read_variant


@dataclass(frozen=True, kw_only=True)
class Search(Setting):
    """The best widths and depths of one network at a fixed cost. ``train`` is the training in full that it ends with;
    ``seeds`` are that training's.
    """

    network: Annotated[str, tyro.conf.Positional]
    """Its name, such as zoo:wrn34_10, timm:resnet10t or file.py:Net, perhaps with gamma=NUMBER to make it smaller:
    "zoo:vgg11 gamma=0.1"."""
    hold: Literal["params", "flops"] = "params"
    """What every network tried has as much of as the original."""
    minutes: float = 60.0
    """How long it may take, the training in full included. What fits is planned before it starts."""
    best: int = 2
    """How many of those found are trained in full."""
    trial_epochs: int | None = None
    """Epochs of a trial that goes to its end; without it, as many as the minutes have room for."""
    evaluate: Evaluate = field(default_factory=lambda: Evaluate(attacks=("pgd20",)))

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("minutes", self.minutes)
        at_least("best", self.best, 1)
        if self.trial_epochs is not None:
            at_least("trial_epochs", self.trial_epochs, 1)
            if self.trial_epochs > self.train.epochs:
                raise ValueError(
                    f"trial_epochs is {self.trial_epochs}, and the training in full has train.epochs ="
                    f" {self.train.epochs}; a trial is at most as long"
                )
        if self.evaluate.select == "test":
            raise ValueError(
                "a search that selects on the test images would report what it was fitted to; leave --select out"
            )
        if "pgd20" not in self.evaluate.attacks:
            raise ValueError("evaluate.attacks must have pgd20: it is what networks are compared by")
        if self.original.rule not in (None, "10-10-10"):
            raise ValueError(
                f"network is {self.network!r}: a search begins at a network without a rule and finds one; leave"
                f" {self.original.rule!r} out"
            )

    @property
    def original(self) -> Network:
        """The network that is searched."""
        return read_variant(self.network)
