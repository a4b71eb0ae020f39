"""Rules: the tiny language in which a study says how wide and how deep each stage is.

    "10-10-4"                   widths in tenths of the model's own; the last stage at 0.4
    "w10-10-4"                  the same, spelled out
    "c216-432-864"              widths as channels
    "d9-7-1"                    depth: blocks in each stage, absolute
    "d7-9-3 w10-10-4"           both
    "d2:2:1", "w2:2.5:1"        depths, widths in a ratio to each other; a budget solves the scale
    "d2:2:1 w2:2.5:1 d:w=7:3"   both, and the sum of the depths to that of the widening factors
    "10-10-4 growth"            densely connected stages scale their growth rate too, not only what enters them
    "10-10-4 keep=group-width"  grouped convolutions keep the width of a group, and have fewer; ``keep=groups`` instead
    "10-10-4 multiple=8"        widths are multiples of 8 where one is near
    "huang2021"                 a rule by its name, see ``NAMED``

``WORDS`` says where each word comes from.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from reconfig.errors import DepthError, RuleError
from reconfig.named import NAMED as NAMED  # what a rule may be called is part of the language
from reconfig.words import EXAMPLE, WORDS

Keep = Literal["groups", "group-width"]
"""What grouped convolutions keep: how many groups there are, or the channels of each."""
_ASIDE = {"growth", "keep", "multiple"}
"""Attributes that say how widths scale, and not to what."""
_Number = TypeVar("_Number", int, float)
_SAYS = {
    "widths": ("width", "channels", "width_ratio"),
    "depths": ("depth", "depth_ratio"),
    "the balance": ("balance",),
}
"""What may be said once, and in which of a rule's attributes."""
_READ: Mapping[str, Callable[[str], Any]] = {"keep": str, "multiple": int}
"""Attributes that are not made of terms, one a stage."""
_COUNTED: Mapping[str, tuple[type[RuleError], str, str]] = {
    "depth": (DepthError, "depth", "d9-7-1"),
    "channels": (RuleError, "channel count", "c216-432-864"),
}
"""Attributes whose terms are whole: the error where they are not, what they are called, and an example."""


@dataclass(frozen=True)
class Rule:
    """How wide and how deep each stage becomes; each attribute is first stage to last, or None.

    Attributes:
        width: tenths of the model's own width; with neither of the other two, None keeps all widths (times gamma).
        depth: blocks per stage, absolute; None, without a ratio of depths, keeps the depth.
        growth: whether the growth rate of a densely connected stage takes the stage's ratio too.
        channels: channels at the stages' outputs, absolute (times gamma).
        width_ratio: widths over the model's own, to each other; a budget solves the scale.
        depth_ratio: blocks, to each other; a budget solves the scale.
        balance: the sum of all depths to that of all widening factors, where both are ratios; None keeps the model's.
        keep: what grouped convolutions keep, "groups" (how many there are) or "group-width" (the channels of each);
            None is whichever is the same throughout the model.
        multiple: widths are multiples of this where one is within a tenth of the exact width.
    """

    width: tuple[float, ...] | None = None
    depth: tuple[int, ...] | None = None
    growth: bool = False
    channels: tuple[int, ...] | None = None
    width_ratio: tuple[float, ...] | None = None
    depth_ratio: tuple[float, ...] | None = None
    balance: tuple[float, float] | None = None
    keep: Keep | None = None
    multiple: int = 1

    def __post_init__(self) -> None:
        given = {what: [name for name in names if getattr(self, name) is not None] for what, names in _SAYS.items()}
        if not given["widths"] + given["depths"]:
            raise RuleError(f"a rule needs a width or a depth; {EXAMPLE}")
        for what, names in given.items():
            if len(names) > 1:
                raise RuleError(f"rule {str(self)!r} gives {what} twice; {EXAMPLE}")
        if self.balance is not None and (self.width_ratio is None or self.depth_ratio is None):
            raise RuleError(
                f"rule {str(self)!r} balances depths and widths, of which both must be ratios; "
                "write e.g. 'd2:2:1 w2:2.5:1 d:w=7:3'"
            )
        for what, terms in (("width", self.width), ("channel", self.channels), ("ratio", self._ratio_terms())):
            for value in terms or ():
                if not (math.isfinite(value) and value > 0):
                    raise RuleError(f"rule {self}: {what} terms must be above 0, not {value:g}; {EXAMPLE}")
        if self.keep not in (None, "groups", "group-width"):
            raise RuleError(f"rule {self}: keep is 'groups', 'group-width' or None, not {self.keep!r}")
        if isinstance(self.multiple, bool) or not isinstance(self.multiple, int) or self.multiple < 1:
            raise RuleError(f"rule {self}: multiple is a whole number above 0, not {self.multiple!r}; write e.g. 8")
        for depth in self.depth or ():
            if depth < 1:
                raise DepthError(
                    f"rule {self}: a stage needs at least one block, not {depth}; write at least 1 for every "
                    "stage, as in 'd5-5-1'"
                )

    def _ratio_terms(self) -> tuple[float, ...]:
        return (*(self.width_ratio or ()), *(self.depth_ratio or ()), *(self.balance or ()))

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
            raise RuleError(f"a rule is a string or a reconfig.Rule, not {type(text).__name__}; {EXAMPLE}")
        found: dict[str, Any] = {}
        for word in (NAMED[text.strip()].rule if text.strip() in NAMED else text).split():
            name, value = _read(word, text)
            if name in found:
                what = next((what for what, names in _SAYS.items() if name in names), name)
                raise RuleError(f"rule {text!r} gives {what} twice; {EXAMPLE}")
            found[name] = value
        if found.keys() <= _ASIDE:
            raise RuleError(f"rule {text!r} is empty; {EXAMPLE}")
        return cls(**found)

    @property
    def open(self) -> bool:
        """Whether a ratio leaves a scale open, which only a budget can solve."""
        return self.width_ratio is not None or self.depth_ratio is not None

    @property
    def solves_gamma(self) -> bool:
        """Whether a budget solves gamma: not where only the depths are left open."""
        return self.depth_ratio is None or self.width_ratio is not None

    def ratios(self, widths: Sequence[int]) -> tuple[float, ...]:
        """The ratio of each stage to its own width, of which ``widths`` has one a stage; gamma comes on top.

        The last term is the last stage's; equal leading terms stretch or shrink to fit. Channels do not.

        Raises:
            RuleError: where the terms do not fit the number of stages.
        """
        stages = len(widths)
        if self.channels is not None:
            if len(self.channels) != stages:
                raise RuleError(
                    f"rule {self} has {len(self.channels)} channel terms and the model has {stages} stages: "
                    f"write one for each stage, as in {'c' + _joined(tuple(widths))!r}, which are its own"
                )
            return tuple(new / own for new, own in zip(self.channels, widths, strict=True))
        if self.width_ratio is not None:
            return self._stretched("width", self.width_ratio, stages, "w" + ":".join(["2"] * (stages - 1) + ["1"]))
        if self.width is not None:
            tenths = self._stretched("width", self.width, stages, "-".join(["10"] * (stages - 1) + ["4"]))
            return tuple(term / 10 for term in tenths)
        return (1.0,) * stages

    def depth_ratios(self, stages: int) -> tuple[float, ...]:
        """The blocks of each of ``stages`` stages to each other; equal leading terms stretch or shrink as widths do.

        Raises:
            DepthError: where the terms do not fit the number of stages.
        """
        assert self.depth_ratio is not None
        try:
            return self._stretched("depth", self.depth_ratio, stages, "d" + ":".join(["2"] * (stages - 1) + ["1"]))
        except RuleError as error:
            raise DepthError(str(error)) from None

    def _stretched(self, what: str, terms: tuple[float, ...], stages: int, example: str) -> tuple[float, ...]:
        *leading, last = terms
        if len(leading) != stages - 1:
            if len(set(leading)) > 1:
                raise RuleError(
                    f"rule {self} has {len(terms)} {what} terms and the model has {stages} stages: "
                    f"write one term for each stage, as in {example!r}"
                )
            leading = leading[:1] * (stages - 1)
        return (*leading, last)

    def depths(self, stages: int) -> tuple[int, ...] | None:
        """Blocks in each of ``stages`` stages, or None where the rule keeps the depth or has a ratio.

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
        if self.depth_ratio is not None:
            words.append("d" + _joined(self.depth_ratio, ":"))
        if self.width is not None:
            words.append(("w" if words else "") + _joined(self.width))
        if self.channels is not None:
            words.append("c" + _joined(self.channels))
        if self.width_ratio is not None:
            words.append("w" + _joined(self.width_ratio, ":"))
        if self.balance is not None:
            words.append("d:w=" + _joined(self.balance, ":"))
        words += ["growth"] if self.growth else []
        words += [f"keep={self.keep}"] if self.keep is not None else []
        words += [f"multiple={self.multiple}"] if self.multiple != 1 else []
        return " ".join(words)


def _joined(terms: tuple[_Number, ...], by: str = "-") -> str:
    return by.join(f"{term:.12g}" for term in terms)


def _read(word: str, text: str) -> tuple[str, Any]:
    """The attribute of ``Rule`` that a word sets, and its value."""
    for name, known in WORDS.items():
        if match := known.pattern.fullmatch(word):
            if name in _READ:
                return name, _READ[name](match[1])
            terms = tuple(float(term) for term in re.split("[-:]", match[1])) if match.groups() else ()
            return name, _checked(name, terms, text) if terms else True
    raise RuleError(f"{word!r} in rule {text!r} is not understood; {EXAMPLE}, or is one of {', '.join(NAMED)}")


def _checked(name: str, terms: tuple[float, ...], text: str) -> tuple[float, ...]:
    """The terms, whole ones as such where they count blocks or channels."""
    error, what, example = _COUNTED.get(name, (RuleError, "", ""))
    for term in terms if what else ():
        if not term.is_integer():
            raise error(f"{what} {term:g} in rule {text!r} is not whole; write whole numbers, as in {example!r}")
    return tuple(int(term) for term in terms) if what else terms


def widening(widths: Sequence[int]) -> float:
    """The sum of the widening factors of stages so wide: channels over 16 in the first, over 32 in the second, ...

    So a wide residual network has them, of which the balance of 7:3 was found.
    """
    return sum(width / (16 * 2**index) for index, width in enumerate(widths))


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
