"""Random networks of each structure: the stages are those that it was built of, and a rule scales the last one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from graphs import check
from hypothesis import strategies as st
from structures import (
    AlongAxes,
    Dense,
    GroupedBlock,
    Hourglass,
    Net,
    PooledBlock,
    Pyramid,
    Reduction,
    UNet,
    block,
    conv,
    nested,
)
from torch import nn

import reconfig

IMAGE = torch.zeros(2, 3, 32, 32)
Draw = Callable[[st.SearchStrategy[int]], int]
COUNTS, FIRST = st.integers(1, 3), st.sampled_from([4, 8, 12])


def rising(draw: Draw, most: int = 4) -> list[int]:
    """Widths of two to ``most`` stages, each wider than the one before."""
    widths = [draw(FIRST)]
    for _ in range(draw(st.integers(1, most - 1))):
        widths.append(widths[-1] + draw(st.sampled_from([4, 8, widths[-1]])))
    return widths


def nested_residuals(draw: Draw) -> tuple[nn.Module, list[int]]:
    widths = rising(draw)
    return nested(*widths), widths


def transitions(draw: Draw) -> tuple[nn.Module, list[int]]:
    into, *widths = rising(draw)
    blocks = [Dense(a, draw(st.sampled_from([2, 4])), b) for a, b in pairwise([into, *widths])]
    last = 2 * widths[-1]
    return Net(nn.Sequential(*blocks, block(widths[-1], last)), into, last), [*widths, last]


def pools(draw: Draw) -> tuple[nn.Module, list[int]]:
    widths = rising(draw)
    blocks = [PooledBlock(a, b) for a, b in pairwise([widths[0], *widths])]
    return Net(nn.Sequential(*blocks), widths[0], widths[-1]), widths


def side_branches(draw: Draw) -> tuple[nn.Module, list[int]]:
    widths = rising(draw, most=3)
    trunk = nn.Sequential()
    for number, (into, out) in enumerate(pairwise([widths[0], *widths])):
        trunk.extend([block(into, out, 2 if number else 1), *(block(out, out) for _ in range(draw(COUNTS) + 1))])
        kind = draw(st.integers(0, 2))
        trunk.extend([[], [Hourglass(out, draw(st.sampled_from([out, max(out // 2, 2)])))], [Pyramid(out)]][kind])
    return Net(trunk, widths[0], widths[-1]), widths


def axes(draw: Draw) -> tuple[nn.Module, list[int]]:
    widths = rising(draw, most=3)
    trunk, size = nn.Sequential(), 32
    for number, (into, out) in enumerate(pairwise([widths[0], *widths])):
        size //= 2 if number else 1
        trunk.extend([conv(into, out, 3, 2 if number else 1), *(AlongAxes(out, size) for _ in range(draw(COUNTS)))])
    return Net(trunk, widths[0], widths[-1]), widths


def decoders(draw: Draw) -> tuple[nn.Module, list[int]]:
    widths = rising(draw)
    return UNet(*widths), widths


def tied_by_concats(draw: Draw) -> tuple[nn.Module, list[int]]:
    width = draw(FIRST)
    widths = [width * 2**number for number in range(draw(st.integers(2, 3)))]
    trunk = nn.Sequential(block(width, width))
    for into, out in pairwise(widths):
        trunk.extend([Reduction(into), *(block(out, out) for _ in range(draw(COUNTS)))])
    return Net(trunk, width, widths[-1]), widths


def groups(draw: Draw) -> tuple[nn.Module, list[int]]:
    """Of one number, as in a ResNeXt, or of one width, as in a RegNet."""
    each, by_width = draw(st.sampled_from([2, 4])), draw(st.integers(0, 1))
    widths = [4 * width for width in rising(draw, most=3)]
    trunk = nn.Sequential()
    for number, (into, out) in enumerate(pairwise([widths[0], *widths])):
        count = out // each if by_width else each
        blocks = draw(COUNTS) + 1
        trunk.extend(GroupedBlock(out if n else into, out, count, 1 if n or not number else 2) for n in range(blocks))
    return Net(trunk, widths[0], widths[-1]), widths


STRUCTURES = [nested_residuals, transitions, pools, side_branches, axes, decoders, tied_by_concats, groups]


def stages_are_those_built(structure: Callable[[Draw], tuple[nn.Module, list[int]]], data: st.DataObject) -> None:
    torch.manual_seed(0)
    model, widths = structure(data.draw)
    assert [stage.width for stage in reconfig.stages(model, IMAGE)] == widths
    plan, _ = check(model, IMAGE, "-".join(["10"] * (len(widths) - 1) + ["5"]))
    assert [stage.width for stage in plan.stages[:-1]] == [(width, width) for width in widths[:-1]]
    before, after = plan.stages[-1].width
    assert after < before
    assert after == round(before / 2) or plan.frozen or plan.stages[-1].dense
