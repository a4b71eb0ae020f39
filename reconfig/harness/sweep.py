"""A sweep as a value: many networks trained and measured under one ``Setting``.

Like ``experiment``, nothing here imports torch. A sweep makes its ``Configuration``s; ``studies.sweeping`` runs them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from reconfig.harness.experiment import Evaluate, Setting
from reconfig.harness.network import Network
from reconfig.harness.paper import Reported


@dataclass(frozen=True)
class Configuration:
    """One network of a sweep, and where it stands in the figure."""

    name: str
    """In tables and figures."""
    network: Network
    positions: tuple[tuple[str, float], ...]
    """(panel of the figure, value on its axis): the standard network stands in the panel of every stage."""
    reported: Reported | None = None

    @property
    def folder(self) -> str:
        """The name as that of a folder, on every system."""
        return re.sub(r"[^\w.+=,-]", "_", self.name.replace("γ", "gamma"), flags=re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Sweep(Setting):
    """Networks trained and measured alike."""

    title: ClassVar[str]
    axis: ClassVar[str] = ""
    """What the positions of the figure are."""
    figure: ClassVar[Literal["scatter", "panels", "line", "grid", "ranking"]]

    evaluate: Evaluate = field(default_factory=lambda: Evaluate(attacks=("pgd20",)))
    limit: int | None = None
    """Only the first so many configurations. A later run with --resume may raise it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, not {self.limit}")
        if "pgd20" not in self.evaluate.attacks:
            raise ValueError("evaluate.attacks must have pgd20: it is what a sweep compares networks by")

    def configurations(self) -> Iterator[Configuration]:
        """The networks, in the order in which they are trained, whatever the limit."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Compare(Sweep):
    """Any two or more networks at the parameters or FLOPs of the first."""

    title = "Comparison"
    figure = "ranking"

    variants: tuple[str, ...] = ("zoo:wrn34_10", "zoo:wrn34_10 10-10-4")
    """Each the name of a network, perhaps a rule, perhaps gamma=NUMBER: "zoo:wrn34_10 d7-9-3 w10-10-4 gamma=0.5". A
    file whose path has spaces stands in quotes of its own."""
    budget: Literal["params", "flops", "none"] = "params"
    """What the others are scaled to have as much of as the first; none takes them as they are."""

    def __post_init__(self) -> None:
        super().__post_init__()
        networks = [read_variant(variant) for variant in self.variants]
        if len(set(networks)) < max(2, len(networks)):
            raise ValueError(f"variants must be two or more that differ, not {', '.join(self.variants)}")
        if self.budget != "none":
            for text, network in zip(self.variants[1:], networks[1:], strict=True):
                if network.gamma != 1:
                    raise ValueError(f"variant {text!r} gives a gamma, which --budget {self.budget} solves for")

    def configurations(self) -> Iterator[Configuration]:
        """See ``Sweep``. These are as written; ``reconfig.harness.studies.sweeping`` solves for the budget."""
        for variant in self.variants:
            network = read_variant(variant)
            yield Configuration(network.name, network, (("", 0.0),))


def read_variant(text: str) -> Network:
    """The network that ``text`` writes: its name, a rule, and gamma=NUMBER, of which only the first has to be there.

    Raises:
        ValueError: If there is no name or it does not parse, or gamma is no number.
    """
    try:
        model, *words = shlex.split(text) or [""]
    except ValueError as error:  # a quotation mark too few
        raise ValueError(f"variant {text!r} cannot be read: {error}") from error
    if not model:
        raise ValueError('a variant is a network and perhaps a rule, such as "zoo:wrn34_10 10-10-4"; this one is empty')
    network = Network(model)
    rule = [word for word in words if not word.startswith("gamma=")]
    for word in words:
        if word.startswith("gamma="):
            try:
                network = replace(network, gamma=float(word.removeprefix("gamma=")))
            except ValueError:
                raise ValueError(f"{word!r} in variant {text!r} is no number; write gamma=0.5") from None
    standard = "10-10-10" if network.gamma != 1 else None  # gamma scales what a rule leaves
    return replace(network, rule=" ".join(rule) or standard)
