"""The words of the rule language, as data: what each looks like, what it means, and where it comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

HUANG_2021 = (
    "Huang H. et al., Exploring Architectural Ingredients of Adversarially Robust Deep Neural Networks, NeurIPS 2021"
)
HUANG_2023 = (
    "Huang S. et al., Revisiting Residual Networks for Adversarial Robustness: An Architectural Perspective, CVPR 2023"
)
PENG_2023 = "Peng et al., Robust Principles: Architectural Design Principles for Adversarially Robust CNNs, BMVC 2023"
XIE_2017 = "Xie et al., Aggregated Residual Transformations for Deep Neural Networks, CVPR 2017"
RADOSAVOVIC_2020 = "Radosavovic et al., Designing Network Design Spaces, CVPR 2020"
SANDLER_2018 = "Sandler et al., MobileNetV2, CVPR 2018 (its code)"

_TERM = r"\d+(?:\.\d+)?"
_BY_STAGE = rf"({_TERM}(?:-{_TERM})+)"
_RATIO = rf"({_TERM}(?::{_TERM})+)"


@dataclass(frozen=True)
class Word:
    """One kind of word.

    Attributes:
        example: how one is written.
        pattern: what a word of this kind matches as a whole; its group, if it has one, holds the terms.
        meaning: what it says.
        source: where it comes from.
    """

    example: str
    pattern: re.Pattern[str]
    meaning: str
    source: str


WORDS: Mapping[str, Word] = MappingProxyType(
    {
        "width": Word(
            "w10-10-4",
            re.compile(f"w?{_BY_STAGE}"),
            "width of each stage in tenths of the model's own; the w may be left out",
            f"{HUANG_2021}, section 4.2",
        ),
        "channels": Word(
            "c216-432-864",
            re.compile(f"c{_BY_STAGE}"),
            "channels at each stage's output; the widths inside the stage keep their proportion to it",
            f"{PENG_2023}, which states its networks so",
        ),
        "width_ratio": Word(
            "w2:2.5:1",
            re.compile(f"w{_RATIO}"),
            "widths of the stages, each over the model's own, to each other; a budget solves the scale",
            f"{HUANG_2023}: independent scaling by width, W1 : W2 : W3",
        ),
        "depth": Word(
            "d9-7-1", re.compile(f"d{_BY_STAGE}"), "blocks of each stage, absolute", f"{HUANG_2021}, section 4.1"
        ),
        "depth_ratio": Word(
            "d2:2:1",
            re.compile(f"d{_RATIO}"),
            "numbers of blocks of the stages to each other; a budget solves the scale",
            f"{HUANG_2023}: independent scaling by depth, D1 : D2 : D3",
        ),
        "balance": Word(
            "d:w=7:3",
            re.compile(rf"d:w=({_TERM}:{_TERM})"),
            "the sum of all depths to that of all widening factors (channels over 16, 32, 64, ...), beside d2:2:1 and "
            "w2:2.5:1; left out, the model's own",
            f"{HUANG_2023}: compound scaling, sum D : sum W = 7 : 3",
        ),
        "growth": Word(
            "growth",
            re.compile("growth"),
            "densely connected stages scale their growth rate too, not only what enters them",
            "ours: the paper's count of DenseNet-121-R leaves the growth rate as it is",
        ),
        "keep": Word(
            "keep=group-width",
            re.compile("keep=(groups|group-width)"),
            "what grouped convolutions keep: the number of groups, or the channels of each; left out, whichever is the "
            "same throughout the network, and the number where both or neither are",
            f"ours: {XIE_2017} designs by the number of groups, {RADOSAVOVIC_2020} by their width",
        ),
        "multiple": Word(
            "multiple=8",
            re.compile(r"multiple=([1-9]\d*)"),
            "widths are multiples of this where one is within a tenth of the exact width",
            f"ours: matrix units take multiples of 8 or 16; the tenth is that of {SANDLER_2018}",
        ),
    }
)
"""By the attribute of ``reconfig.Rule`` that each sets."""

EXAMPLE = 'a rule reads like "10-10-4" (widths in tenths), "d9-7-1" (blocks per stage) or "d7-9-3 w10-10-4"'
"""How errors say what a rule looks like."""
