"""A sweep as a value: many networks trained and measured under one ``Setting``.

Like ``experiment``, nothing here imports torch. A sweep makes its ``Configuration``s; ``studies.sweeping`` runs them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import tyro

from reconfig.harness.experiment import Evaluate, Setting
from reconfig.harness.fields import positive
from reconfig.harness.network import Network
from reconfig.harness.paper import Reported

Held = Literal["params", "flops"]
"""What rules are given as much of as the network they are for: parameters, or multiply-adds of one image."""
HELD: Mapping[Held, str] = {"params": "parameters", "flops": "multiply-adds"}
"""The same in words."""


@dataclass(frozen=True)
class Configuration:
    """One network of a sweep, and where it stands in the figure."""

    name: str
    """In tables and figures."""
    network: Network
    positions: tuple[tuple[str, float], ...]
    """(panel of the figure, value on its axis): the standard network stands in the panel of every stage."""
    reported: Reported | None = None
    answers: tuple[tuple[str, Held], ...] = ()
    """In a comparison of rules, which of them it is, and with what held; several may come to one network."""

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
    figure: ClassVar[Literal["scatter", "panels", "line", "grid", "ranking", "costs"]]

    evaluate: Evaluate = field(default_factory=lambda: Evaluate(attacks=("pgd20",)))
    seeds: int = 1
    """How often everything is done, with seed, seed + 1, ...: all networks of one seed, then all of the next. A later
    run with --resume may raise it, and trains only what is missing."""
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
    """Rules for one network, each at its parameters and at its multiply-adds, against the network itself."""

    title = "Comparison of rules"
    figure = "costs"

    network: tyro.conf.Positional[str] = "zoo:vgg11"
    """The network: zoo:vgg11, timm:resnet10t, torchvision:resnet18, package.module:Factory or file.py:Net."""
    gamma: float = 1.0
    """Factor on every width of the network, before it is compared: 0.1 makes one small enough for a CPU."""
    rules: tuple[str, ...] = ("10-10-4", "10-10-7")
    """The rules, such as 10-10-4 "d2:2:1 w2:2.5:1" robustresnet-width. One that leaves the network as it is, as
    10-10-10 does, is the network itself, which is trained once."""
    hold: Literal["params", "flops", "both"] = "both"
    """What of the network every rule is given as much of, by gamma or the scale of its ratios; both takes each rule
    twice."""
    within: float = 0.03
    """The part of what is held by which a rule may miss it, since channels and blocks are whole; one that is farther
    off is refused before anything is trained."""

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("gamma", self.gamma)
        positive("within", self.within)
        if not self.rules or len(set(self.rules)) < len(self.rules):
            given = ", ".join(self.rules) or "none"
            raise ValueError(f"rules must be one or more that differ, as in --rules 10-10-4 10-10-7, not {given}")

    @property
    def held(self) -> tuple[Held, ...]:
        """What is held, one after the other."""
        return ("params", "flops") if self.hold == "both" else (self.hold,)

    @property
    def original(self) -> Network:
        """The network itself."""
        return Network(self.network, "10-10-10" if self.gamma != 1 else None, self.gamma)

    def configurations(self) -> Iterator[Configuration]:
        """See ``Sweep``. These are as asked for; ``reconfig.harness.studies.held`` solves for the budgets."""
        yield Configuration("original", self.original, ())
        for held in self.held:
            for rule in self.rules:
                network = Network(self.network, rule, budget=held)
                yield Configuration(f"{rule} {held}", network, (), answers=((rule, held),))


@dataclass(frozen=True, kw_only=True)
class Variants(Sweep):
    """Any two or more networks at the parameters or FLOPs of the first."""

    title = "Networks at one cost"
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
