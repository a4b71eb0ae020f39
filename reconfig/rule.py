"""Rules: the tiny language in which a study says how wide and how deep each stage is.

    "10-10-4"               widths in tenths of the model's own; the last stage at 0.4
    "w10-10-4"              the same, spelled out
    "d9-7-1"                depth: blocks in each stage, absolute
    "d7-9-3 w10-10-4"       both
    "10-10-4 growth"        densely connected stages scale their growth rate too, not only what enters them
    "huang2021"             a rule by its name, see ``NAMED``

Notation of Huang et al. (NeurIPS 2021), section 4.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from reconfig.errors import DepthError, RuleError
from reconfig.words import HUANG_2021

_TERMS = re.compile(r"(?P<kind>[wd]?)(?P<terms>\d+(\.\d+)?(-\d+(\.\d+)?)+)")
_Number = TypeVar("_Number", int, float)
_EXAMPLE = 'a rule reads like "10-10-4" (widths in tenths), "d9-7-1" (blocks per stage) or "d7-9-3 w10-10-4"'


@dataclass(frozen=True)
class Rule:
    """How wide and how deep each stage becomes.

    Attributes:
        width: tenths of the model's own width, first stage to last; None keeps all widths (times gamma).
        depth: blocks per stage, absolute; None keeps the depth.
        growth: whether the growth rate of a densely connected stage takes the stage's ratio too.
    """

    width: tuple[float, ...] | None = None
    depth: tuple[int, ...] | None = None
    growth: bool = False

    def __post_init__(self) -> None:
        if self.width is None and self.depth is None:
            raise RuleError(f"a rule needs a width or a depth; {_EXAMPLE}")
        for value in self.width or ():
            if not (math.isfinite(value) and value > 0):
                raise RuleError(f"rule {self}: width terms must be above 0, not {value:g}; {_EXAMPLE}")
        for depth in self.depth or ():
            if depth < 1:
                raise DepthError(
                    f"rule {self}: a stage needs at least one block, not {depth}; write at least 1 for every "
                    "stage, as in 'd5-5-1'"
                )

    @classmethod
    def parse(cls, text: str | Rule) -> Rule:
        """The rule that ``text`` spells or names.

        Raises:
            RuleError: where the text is no rule; the message quotes the part that is not understood.
            DepthError: where a depth is 0 or not whole.
        """
        if isinstance(text, Rule):
            return text
        if not isinstance(text, str):
            raise RuleError(f"a rule is a string or a reconfig.Rule, not {type(text).__name__}; {_EXAMPLE}")
        words = (NAMED[text.strip()].rule if text.strip() in NAMED else text).split()
        found: dict[str, tuple[float, ...]] = {}
        growth = False
        for word in words:
            if word == "growth":
                growth = True
                continue
            match = _TERMS.fullmatch(word)
            if match is None:
                raise RuleError(
                    f"{word!r} in rule {text!r} is not understood; {_EXAMPLE}, or is one of {', '.join(NAMED)}"
                )
            kind = match["kind"] or "w"
            if kind in found:
                raise RuleError(f"rule {text!r} gives {'widths' if kind == 'w' else 'depths'} twice; {_EXAMPLE}")
            found[kind] = tuple(float(term) for term in match["terms"].split("-"))
        if not found:
            raise RuleError(f"rule {text!r} is empty; {_EXAMPLE}")
        return cls(found.get("w"), _whole(found.get("d"), text), growth)

    def ratios(self, stages: int) -> tuple[float, ...]:
        """The width ratio of each of ``stages`` stages.

        The last term is the last stage's; equal leading terms stretch or shrink to fit.

        Raises:
            RuleError: where leading terms differ and their number is not that of the stages.
        """
        if self.width is None:
            return (1.0,) * stages
        *leading, last = (term / 10 for term in self.width)
        if len(leading) != stages - 1:
            if len(set(leading)) > 1:
                raise RuleError(
                    f"rule {self} has {len(self.width)} width terms and the model has {stages} stages: "
                    f"write one term for each stage, as in {'-'.join(['10'] * (stages - 1) + ['4'])!r}"
                )
            leading = leading[:1] * (stages - 1)
        return (*leading, last)

    def depths(self, stages: int) -> tuple[int, ...] | None:
        """Blocks in each of ``stages`` stages, or None where the rule keeps the depth.

        Raises:
            DepthError: where the number of terms is not that of the stages; depths are absolute and do not stretch.
        """
        if self.depth is not None and len(self.depth) != stages:
            raise DepthError(
                f"rule {self} has {len(self.depth)} depth terms and the model has {stages} stages: "
                f"write one for each stage, as in {'d' + '-'.join(['2'] * stages)!r}"
            )
        return self.depth

    def __str__(self) -> str:
        words = []
        if self.depth is not None:
            words.append("d" + _joined(self.depth))
        if self.width is not None:
            words.append(("w" if self.depth is not None else "") + _joined(self.width))
        return " ".join([*words, *(["growth"] if self.growth else [])])


def _joined(terms: tuple[_Number, ...]) -> str:
    return "-".join(f"{term:g}" for term in terms)


def _whole(terms: tuple[float, ...] | None, text: str) -> tuple[int, ...] | None:
    if terms is None:
        return None
    for term in terms:
        if term != int(term):
            raise DepthError(f"depth {term:g} in rule {text!r} is not whole: depths count blocks, as in 'd9-7-1'")
    return tuple(int(term) for term in terms)


@dataclass(frozen=True)
class NamedRule:
    """A rule that was published, with where."""

    rule: str
    citation: str


NAMED: Mapping[str, NamedRule] = MappingProxyType(
    {
        "huang2021": NamedRule("10-10-4", f"{HUANG_2021}, section 4.3 (the optimally reduced width)"),
        "huang2021-depth": NamedRule("d9-7-1", f"{HUANG_2021}, section 4.1 (the most robust depth of the grid search)"),
    }
)


def check_gamma(gamma: float) -> float:
    """``gamma`` as a float.

    Raises:
        RuleError: where it is not a finite number above 0.
    """
    if isinstance(gamma, bool) or not isinstance(gamma, int | float) or not math.isfinite(gamma) or gamma <= 0:
        raise RuleError(f"gamma must be a finite number above 0, not {gamma!r}; gamma=1.0 keeps the rule's own widths")
    return float(gamma)


def scaled(size: int, factor: float, divisor: int) -> int:
    """``size * factor`` to the nearest multiple of ``divisor`` (halves up), at least one."""
    # The small term undoes what binary fractions lose: 25 * 0.1 must count as 2.5.
    return max(1, math.floor(size * factor / divisor + 0.5 + 1e-9)) * divisor
