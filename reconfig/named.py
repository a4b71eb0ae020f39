"""Rules that were published, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from reconfig.words import HUANG_2021, HUANG_2023, PENG_2023


@dataclass(frozen=True)
class NamedRule:
    """A rule that was published.

    Attributes:
        rule: the rule.
        citation: where it was published.
        network: the network that it was published for, by the name of a factory of ``reconfig.zoo`` with its arguments;
            on another one its terms mean another network.
        besides: what the paper changed beside widths and depths, which no rule does; the factory of ``reconfig.zoo``
            that has it.
    """

    rule: str
    citation: str
    network: str
    besides: str = "nothing"


_SCALED = f"{HUANG_2023}, Table 2 as printed with its code"
_BLOCK = (
    "RobustResBlock for the basic block: a pre-activation bottleneck of eight hierarchical scales with grouped "
    "convolutions, and squeeze-and-excitation on a residual of its own"
)
_RAWRN = (
    "a stem of 96 channels, SiLU for ReLU, and squeeze-and-excitation with a quarter of the channels behind the second "
    "convolution of each block: zoo.rawrn70_16"
)
_RARESNET = (
    "a stem of 96 channels without a pool (the first block downsamples instead), SiLU for ReLU, two groups, "
    "squeeze-and-excitation with a quarter of the block's input behind the 3x3 convolution, and no norm behind the "
    "first 1x1 convolution: zoo."
)


def _compound(number: int, depth: str, width: str) -> tuple[str, NamedRule]:
    besides = f"{_BLOCK}: zoo.robustresnet_a{number}. With basic blocks the paper calls it WRN-A{number}"
    return f"robustresnet-a{number}", NamedRule(f"d{depth} w{width}", _SCALED, "wrn(28, 10)", besides)


NAMED: Mapping[str, NamedRule] = MappingProxyType(
    {
        "huang2021": NamedRule("10-10-4", f"{HUANG_2021}, section 4.3 (the optimally reduced width)", "wrn(34, 10)"),
        "huang2021-depth": NamedRule(
            "d9-7-1", f"{HUANG_2021}, section 4.1 (the most robust depth of the grid search)", "wrn(34, 10)"
        ),
        "robustresnet-depth": NamedRule("d2:2:1", f"{HUANG_2023}, independent scaling by depth", "wrn(28, 10)"),
        "robustresnet-width": NamedRule("w2:2.5:1", f"{HUANG_2023}, independent scaling by width", "wrn(28, 10)"),
        "robustresnet-compound": NamedRule(
            "d2:2:1 w2:2.5:1 d:w=7:3", f"{HUANG_2023}, compound scaling (RobustScaling)", "wrn(28, 10)"
        ),
        **dict(
            [
                _compound(1, "14-14-7", "5-7-3"),
                _compound(2, "17-17-8", "7-9-4"),
                _compound(3, "22-22-11", "8-11-5"),
                _compound(4, "27-28-13", "10-14-6"),
            ]
        ),
        "rawrn-70-16": NamedRule("d30-31-10 c216-432-864", PENG_2023, "wrn(70, 16)", _RAWRN),
        "raresnet-50": NamedRule("d5-8-13-1 c288-576-1120-2160", PENG_2023, "ResNet-50", f"{_RARESNET}raresnet50"),
        "raresnet-101": NamedRule("d7-11-18-1 c336-672-1328-2624", PENG_2023, "ResNet-101", f"{_RARESNET}raresnet101"),
        "rawrn-101-2": NamedRule("d7-11-18-1 c512-1024-2016-4032", PENG_2023, "WRN-101-2", f"{_RARESNET}rawrn101_2"),
    }
)
