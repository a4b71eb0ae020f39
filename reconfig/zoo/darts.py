"""Networks of searched cells, for 32x32 images (Liu, Simonyan & Yang, "DARTS", ICLR 2019).

Module names and PyTorch's default initialisation are those of DARTS' published code, as in the paper's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reconfig.zoo.genotypes import DARTS_V2, Edge, Genotype


class Zero(nn.Module):
    """The operation `none`: zeros of the shape that the other operations yield."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride] * 0.0


class FactorizedReduce(nn.Module):
    """ReLU, two 1x1 convolutions of stride 2, one pixel apart and each half as wide, concatenated, BN."""

    def __init__(self, width: int, new_width: int) -> None:
        super().__init__()
        if new_width % 2:
            raise ValueError(
                f"darts: a factorized reduction has two equal halves, so its width {new_width} must be even. "
                f"Try {new_width - 1} or {new_width + 1} in cell_widths."
            )
        self.conv_1 = nn.Conv2d(width, new_width // 2, kernel_size=1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(width, new_width // 2, kernel_size=1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(new_width)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], dim=1))


class Operation(nn.Module):
    """A sequence of layers in `op`."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.op = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


def _relu_conv_bn(width: int, new_width: int, kernel: int = 1, stride: int = 1) -> Operation:
    conv = nn.Conv2d(width, new_width, kernel, stride=stride, padding=kernel // 2, bias=False)
    return Operation(nn.ReLU(), conv, nn.BatchNorm2d(new_width))


def _separable(width: int, kernel: int, stride: int, dilation: int = 1) -> list[nn.Module]:
    """ReLU, depthwise convolution, 1x1 convolution, BN."""
    padding = dilation * (kernel // 2)
    depthwise = nn.Conv2d(width, width, kernel, stride, padding, dilation, groups=width, bias=False)
    pointwise = nn.Conv2d(width, width, kernel_size=1, bias=False)
    return [nn.ReLU(), depthwise, pointwise, nn.BatchNorm2d(width)]


def _sep_conv(width: int, kernel: int, stride: int) -> Operation:
    """Two separable convolutions; the first takes the stride."""
    return Operation(*_separable(width, kernel, stride), *_separable(width, kernel, 1))


def _dil_conv(width: int, kernel: int, stride: int) -> Operation:
    return Operation(*_separable(width, kernel, stride, dilation=2))


def _factorized_conv(width: int, kernel: int, stride: int) -> nn.Sequential:
    """A row convolution, then a column convolution."""
    half = kernel // 2
    row = nn.Conv2d(width, width, (1, kernel), stride=(1, stride), padding=(0, half), bias=False)
    column = nn.Conv2d(width, width, (kernel, 1), stride=(stride, 1), padding=(half, 0), bias=False)
    return nn.Sequential(nn.ReLU(), row, column, nn.BatchNorm2d(width))


def _skip_connect(width: int, stride: int) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(width, width)


def _avg_pool(kernel: int, stride: int) -> nn.AvgPool2d:
    return nn.AvgPool2d(kernel, stride, padding=kernel // 2, count_include_pad=False)


def _max_pool(kernel: int, stride: int) -> nn.MaxPool2d:
    return nn.MaxPool2d(kernel, stride, padding=kernel // 2)


# What a genotype may name: each makes the operation of a width and a stride.
OPERATIONS: dict[str, Callable[[int, int], nn.Module]] = {
    "none": lambda width, stride: Zero(stride),
    "skip_connect": _skip_connect,
    "avg_pool_3x3": lambda width, stride: _avg_pool(3, stride),
    "avg_pool_5x5": lambda width, stride: _avg_pool(5, stride),
    "avg_pool_7x7": lambda width, stride: _avg_pool(7, stride),
    "max_pool_3x3": lambda width, stride: _max_pool(3, stride),
    "max_pool_5x5": lambda width, stride: _max_pool(5, stride),
    "max_pool_7x7": lambda width, stride: _max_pool(7, stride),
    "sep_conv_3x3": lambda width, stride: _sep_conv(width, 3, stride),
    "sep_conv_5x5": lambda width, stride: _sep_conv(width, 5, stride),
    "sep_conv_7x7": lambda width, stride: _sep_conv(width, 7, stride),
    "dil_conv_3x3": lambda width, stride: _dil_conv(width, 3, stride),
    "dil_conv_5x5": lambda width, stride: _dil_conv(width, 5, stride),
    "conv_1x1": lambda width, stride: _relu_conv_bn(width, width, 1, stride),
    "conv_3x3": lambda width, stride: _relu_conv_bn(width, width, 3, stride),
    # Both orders of the name are in use; the row convolution comes first under either.
    "conv_3x1_1x3": lambda width, stride: _factorized_conv(width, 3, stride),
    "conv_1x3_3x1": lambda width, stride: _factorized_conv(width, 3, stride),
    "conv_7x1_1x7": lambda width, stride: _factorized_conv(width, 7, stride),
    "conv_1x7_7x1": lambda width, stride: _factorized_conv(width, 7, stride),
}


def drop_path(x: Tensor, prob: float) -> Tensor:
    """Zero whole samples of `x` with probability `prob`, and scale the others so that the mean stays."""
    keep = 1.0 - prob
    return x / keep * x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(keep)


class Cell(nn.Module):
    """Brings the outputs of the two cells before it to its own width and runs a genotype's edges on them."""

    def __init__(
        self,
        edges: Sequence[Edge],
        concat: Sequence[int],
        previous: tuple[int, int],
        width: int,
        reduction: bool,
        reduction_before: bool,
    ) -> None:
        super().__init__()
        # After a reduction, the cell before the last still has the higher resolution.
        self.preprocess0: nn.Module
        if reduction_before:
            self.preprocess0 = FactorizedReduce(previous[0], width)
        else:
            self.preprocess0 = _relu_conv_bn(previous[0], width)
        self.preprocess1 = _relu_conv_bn(previous[1], width)
        self._sources = [source for _, source in edges]
        self._concat = list(concat)
        self._ops = nn.ModuleList(
            OPERATIONS[name](width, 2 if reduction and source < 2 else 1) for name, source in edges
        )

    def forward(self, before_last: Tensor, last: Tensor, drop_path_prob: float) -> Tensor:
        states = [self.preprocess0(before_last), self.preprocess1(last)]
        outs: list[Tensor] = []
        for op, source in zip(self._ops, self._sources, strict=True):
            out = op(states[source])
            if self.training and drop_path_prob > 0 and not isinstance(op, nn.Identity):
                out = drop_path(out, drop_path_prob)
            outs.append(out)
            if len(outs) == 2:
                states.append(outs[0] + outs[1])
                outs.clear()
        return torch.cat([states[i] for i in self._concat], dim=1)


class AuxiliaryHead(nn.Module):
    """A small classifier on the 8x8 states after the second reduction; it adds a loss while training."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(5, stride=3, count_include_pad=False),  # 8x8 to 2x2
            nn.Conv2d(width, 128, kernel_size=1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, kernel_size=2, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


class DARTS(nn.Module):
    """A 3x3 stem, cells with two reductions among them, global average pooling and one linear layer.

    Made by `darts`, which says what the arguments are and checks them.

    Shapes: (N, 3, 32, 32) -> (N, num_classes); with an auxiliary head and in train mode, the pair of logits
    and auxiliary logits, both (N, num_classes).

    Attributes:
        drop_path_prob: the probability of dropping a path, in train mode only. A training loop may set it
            anew every epoch.
    """

    def __init__(
        self,
        genotype: Genotype,
        cells: int,
        stem_width: int,
        cell_widths: Sequence[int],
        num_classes: int,
        auxiliary: bool,
        drop_path_prob: float,
    ) -> None:
        super().__init__()
        self.drop_path_prob = drop_path_prob
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem_width, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(stem_width)
        )
        self.cells = nn.ModuleList()
        reductions = (cells // 3, 2 * cells // 3)
        previous = (stem_width, stem_width)
        for index in range(cells):
            reduction = index in reductions
            width = cell_widths[sum(index >= r for r in reductions)]
            edges = genotype.reduce if reduction else genotype.normal
            concat = genotype.reduce_concat if reduction else genotype.normal_concat
            self.cells.append(Cell(edges, concat, previous, width, reduction, index - 1 in reductions))
            previous = (previous[1], width * len(concat))
            if index == reductions[1]:
                self._auxiliary_after = index
                self.auxiliary_head = AuxiliaryHead(previous[1], num_classes) if auxiliary else None
        self.classifier = nn.Linear(previous[1], num_classes)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        auxiliary_logits = None
        before_last = last = self.stem(x)
        for index, cell in enumerate(self.cells):
            before_last, last = last, cell(before_last, last, self.drop_path_prob)
            if index == self._auxiliary_after and self.auxiliary_head is not None and self.training:
                auxiliary_logits = self.auxiliary_head(last)
        logits = self.classifier(F.adaptive_avg_pool2d(last, 1).flatten(1))
        return logits if auxiliary_logits is None else (logits, auxiliary_logits)


def darts(
    genotype: Genotype = DARTS_V2,
    cells: int = 11,
    num_classes: int = 10,
    *,
    stem_width: int = 108,
    cell_widths: Sequence[int] = (72, 144, 288),
    auxiliary: bool = False,
    drop_path_prob: float = 0.0,
) -> DARTS:
    """A network of searched cells; by default the paper's DARTS (Huang et al. 2021, table 2).

    (N, 3, 32, 32) -> (N, num_classes), 6,579,118 parameters, and 550,154 more with an auxiliary head. The
    network of the DARTS publication is `darts(cells=20, cell_widths=(36, 72, 144))`, 3,349,342 parameters.

    Args:
        genotype: what the cells consist of; any of `reconfig.zoo`'s, or your own.
        cells: how many; those at `cells // 3` and `2 * cells // 3` are reductions.
        num_classes: the number of logits.
        stem_width: the width of the stem.
        cell_widths: the width of the states of the cells before, between and after the reductions. A cell's
            output is as many times wider as it concatenates states.
        auxiliary: adds a second classifier after the second reduction. In train mode the model then returns
            `(logits, auxiliary_logits)`; in eval mode it returns the logits alone.
        drop_path_prob: the probability with which, in train mode, an edge's output is dropped for a sample.

    Raises:
        TypeError: `genotype` is not a genotype.
        ValueError: `genotype` names an unknown operation or a state that does not exist, or another
            argument is out of range.
    """
    genotype = _checked(genotype)
    if cells < 3:
        raise ValueError(f"darts: cells={cells} leaves no room for two reductions. Try darts(cells=11).")
    if len(cell_widths) != 3 or min(cell_widths) < 1:
        raise ValueError(
            f"darts: cell_widths={tuple(cell_widths)} must be three positive widths: before, between and "
            "after the two reductions. Try darts(cell_widths=(72, 144, 288))."
        )
    if not 0 <= drop_path_prob < 1:
        raise ValueError(f"darts: drop_path_prob={drop_path_prob} must be in [0, 1). Try darts(drop_path_prob=0.2).")
    return DARTS(genotype, cells, stem_width, cell_widths, num_classes, auxiliary, drop_path_prob)


def _checked(genotype: Genotype) -> Genotype:
    """The genotype as a `Genotype`; any tuple of the four fields will do, such as another code's."""
    if not isinstance(genotype, tuple) or len(genotype) != len(Genotype._fields):
        raise TypeError(
            f"darts: genotype={genotype!r} is not a Genotype. "
            "Try darts(zoo.DARTS_V2) or darts(zoo.Genotype(normal, normal_concat, reduce, reduce_concat))."
        )
    genotype = Genotype(*genotype)
    _check_cell("normal", genotype.normal, genotype.normal_concat, lowest=0)
    # States 0 and 1 of a reduction cell still have the higher resolution, so they do not concatenate.
    _check_cell("reduce", genotype.reduce, genotype.reduce_concat, lowest=2)
    return genotype


def _check_cell(name: str, edges: Sequence[Edge], concat: Sequence[int], lowest: int) -> None:
    if not edges or len(edges) % 2:
        raise ValueError(f"darts: genotype.{name} has {len(edges)} edges; two make a state, so give an even number.")
    for i, edge in enumerate(edges):
        if not isinstance(edge, tuple | list) or len(edge) != 2:
            raise ValueError(f"darts: genotype.{name}[{i}] = {edge!r} is not a pair. Try ('sep_conv_3x3', 0).")
        operation, source = edge
        if operation not in OPERATIONS:
            raise ValueError(
                f"darts: genotype.{name}[{i}] names the operation {operation!r}, which is not one of "
                f"{', '.join(sorted(OPERATIONS))}."
            )
        newest = 1 + i // 2
        if not 0 <= source <= newest:
            raise ValueError(
                f"darts: genotype.{name}[{i}] = {(operation, source)} reads state {source}, but the states "
                f"before it are 0 to {newest}."
            )
    newest = 1 + len(edges) // 2
    if not concat or not all(lowest <= state <= newest for state in concat):
        raise ValueError(
            f"darts: genotype.{name}_concat = {tuple(concat)} must list states from {lowest} to {newest}. "
            f"Try {name}_concat={tuple(range(2, newest + 1))}."
        )
