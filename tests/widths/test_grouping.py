"""Grouped convolutions keep how many groups they have, or how wide each is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from graphs import check
from structures import GroupedBlock, Net, conv
from torch import Tensor, nn
from torch.nn import functional as F

import reconfig

IMAGE = torch.zeros(2, 3, 16, 16)


def grouped(*groups: int, widths: Sequence[int] = (16, 32)) -> Net:
    """Bottlenecks whose middle has so many groups, a stage each."""
    into = (widths[0], *widths)
    trunk = nn.Sequential()
    for number, (width, count) in enumerate(zip(widths, groups, strict=True)):
        trunk.extend([GroupedBlock(into[number], width, count, 2 if number else 1), GroupedBlock(width, width, count)])
    return Net(trunk, widths[0], widths[-1])


def groups_of(model: nn.Module) -> list[tuple[int, int]]:
    """Groups and the channels of each, grouped convolution by grouped convolution."""
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d) and module.groups > 1]
    assert all(tuple(layer.weight.shape[:2]) == (layer.out_channels, layer.weight.shape[1]) for layer in layers)
    return [(layer.groups, layer.weight.shape[1]) for layer in layers]


@pytest.mark.parametrize(
    ("groups", "rule", "after", "says"),
    [
        ((4, 8), "10-5", (4, 4), "keep the width of a group (4 channels); their number scales"),
        ((4, 4), "10-5", (4, 4), "keep their number of groups (4); the width of each scales"),
        ((2, 8), "10-5", (8, 2), "keep their number of groups (2 to 8); the width of each scales"),
        ((4, 8), "10-5 keep=groups", (8, 2), "keep their number of groups (4 to 8); the width of each scales"),
        ((4, 4), "10-5 keep=group-width", (2, 8), "keep the width of a group (4 to 8 channels); their number scales"),
    ],
)
def test_what_is_the_same_throughout_stays(
    groups: tuple[int, int], rule: str, after: tuple[int, int], says: str
) -> None:
    plan, result = check(grouped(*groups), IMAGE, rule)
    assert groups_of(result)[2:] == [after, after]
    assert f"grouped convolutions {says}\n" in f"{plan}\n"
    assert not plan.frozen


def test_none_have_nothing_to_say() -> None:
    model = Net(nn.Sequential(conv(8, 8), conv(8, 16, 3, 2)), 8, 16)
    plan, _ = check(model, IMAGE, "10-5 keep=group-width")
    assert plan.grouping is None
    assert "grouped" not in str(plan)


class Written(nn.Module):
    """A grouped convolution whose code has the number of groups."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.weight, self.count = nn.Parameter(torch.randn(width, width // groups, 3, 3) / 9), groups

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, padding=1, groups=self.count)


def test_a_number_in_the_code_stays() -> None:
    model = Net(nn.Sequential(GroupedBlock(16, 16, 4), conv(16, 32, 3, 2), Written(32, 8)), 16, 32)
    model.trunk.append(GroupedBlock(32, 32, 8))
    plan, result = check(model, IMAGE, "10-5")
    assert groups_of(result) == [(4, 4), (4, 4)]
    assert tuple(result.trunk[2].weight.shape) == (16, 2, 3, 3)
    assert "their number scales; trunk.2 the number" in str(plan)


class Mixed(nn.Module):
    """A grouped convolution, of which a group reads channels of two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.both = conv(16, 6), conv(16, 10), nn.Conv2d(16, 16, 3, 1, 1, groups=4)

    def forward(self, x: Tensor) -> Tensor:
        return self.both(torch.cat([self.left(x), self.right(x)], 1))


def test_one_whose_groups_are_not_whole_is_named() -> None:
    model = Net(nn.Sequential(GroupedBlock(16, 16, 4), Mixed(), conv(16, 32, 3, 2)), 16, 32)
    model.trunk.append(GroupedBlock(32, 32, 8))
    plan, result = check(model, IMAGE, "5-5 keep=group-width")
    assert groups_of(result) == [(2, 4), (4, 4), (4, 4)]
    assert "their number scales; trunk.1.both the number" in str(plan)


def test_one_that_joins_two_stages_does_not_tie_them() -> None:
    trunk = nn.Sequential(GroupedBlock(16, 16, 4), nn.Conv2d(16, 16, 3, 2, 1, groups=4), conv(16, 32))
    trunk.append(GroupedBlock(32, 32, 8))
    plan, result = check(Net(trunk, 16, 32), IMAGE, "10-5")
    assert not plan.frozen
    assert groups_of(result) == [(4, 4), (4, 4), (8, 2)]
    assert result.trunk[1].out_channels == 8
    assert "keep their number of groups" in str(plan)


def test_whole_groups_are_rounded_to_and_shown_in_channels() -> None:
    plan, result = check(grouped(4, 8), IMAGE, "10-3")
    assert groups_of(result)[2:] == [(2, 4)] * 2  # 2.4 groups
    plan, result = check(grouped(4, 8, widths=(64, 128)), IMAGE, "10-3 multiple=8")
    assert groups_of(result)[2:] == [(2, 16)] * 2
    assert plan.stages[-1].width == (128, 40)  # of 38.4
    with pytest.raises(reconfig.RuleError, match="multiple is a whole number above 0, not 0; write"):
        reconfig.Rule(width=(10, 4), multiple=0)
    with pytest.raises(reconfig.RuleError, match="keep is 'groups', 'group-width' or None, not 'number'"):
        reconfig.Rule(width=(10, 4), keep="number")  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", ["15-15", "15-20 keep=groups"])
def test_groups_are_grown_whole(rule: str) -> None:
    model, image = grouped(4, 8).eval().double(), torch.randn(2, 3, 16, 16).double()
    grown = reconfig.apply(model, rule, weights="inherit", example_input=image)
    torch.testing.assert_close(grown.eval()(image), model(image))


def normed(one: int, two: int) -> Net:
    """Two stages with group norms of so many groups."""
    trunk = nn.Sequential(
        GroupedBlock(16, 16, 1), nn.GroupNorm(one, 16), GroupedBlock(16, 32, 1, 2), nn.GroupNorm(two, 32)
    )
    return Net(trunk, 16, 32)


@pytest.mark.parametrize(
    ("groups", "width", "after"),
    [((4, 8), 20, 5), ((4, 4), 20, 4), ((2, 8), 16, 8)],
    ids=["length", "number", "neither"],
)
def test_group_norms_keep_what_is_the_same_throughout(groups: tuple[int, int], width: int, after: int) -> None:
    plan, result = check(normed(*groups), IMAGE, "10-6")
    assert (plan.stages[-1].width, result.trunk[3].num_groups) == ((32, width), after)
    assert result.trunk[3].num_channels == width
    assert not plan.frozen


def test_a_number_of_a_norm_that_no_module_keeps_stays() -> None:
    class Literal(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.group_norm(x, 8)

    model = normed(4, 8)
    model.trunk.append(Literal())
    plan, result = check(model, IMAGE, "10-6")
    assert (plan.stages[-1].width, result.trunk[3].num_groups) == ((32, 16), 8)
