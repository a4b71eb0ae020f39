"""The words of the rule language, as data: what each looks like, what it means, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

HUANG_2021 = (
    "Huang et al., Exploring Architectural Ingredients of Adversarially Robust Deep Neural Networks, NeurIPS 2021"
)


@dataclass(frozen=True)
class Word:
    """One kind of word.

    Attributes:
        example: how one is written.
        meaning: what it says.
        source: where it comes from.
    """

    example: str
    meaning: str
    source: str


WORDS: Mapping[str, Word] = MappingProxyType(
    {
        "width": Word(
            "w10-10-4",
            "width of each stage in tenths of the model's own; the w may be left out",
            f"{HUANG_2021}, section 4.2",
        ),
        "depth": Word("d9-7-1", "blocks of each stage, absolute", f"{HUANG_2021}, section 4.1"),
        "growth": Word(
            "growth",
            "densely connected stages scale their growth rate too, not only what enters them",
            "ours: the paper's count of DenseNet-121-R leaves the growth rate as it is",
        ),
    }
)
"""By the attribute of ``reconfig.Rule`` that each sets."""
