"""Detectors: a head over a pyramid, maps that only the pyramid has, and boxes, as many as their scores say."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from structures import block, conv
from torch import Tensor, nn
from torch.nn import functional as F

import reconfig
from reconfig import FrozenKind

IMAGE = torch.zeros(1, 3, 64, 64)


class Detector(nn.Module):
    """A trunk of three stages, a pyramid of four maps, a head that runs on all of them, and boxes where it says so."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8, stride=2)
        self.trunk = nn.ModuleList([block(8, 16), block(16, 32, 2), block(32, 64, 2)])
        self.inner = nn.ModuleList(nn.Conv2d(width, 16, 1) for width in (16, 32, 64))
        self.extra = nn.Conv2d(16, 16, 3, 2, 1)
        self.tower, self.scores = conv(16, 16), nn.Conv2d(16, 1, 1)
        self.box_head, self.boxes = nn.Linear(16, 24), nn.Linear(24, 4)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        maps = []
        x = self.stem(x)
        for stage, inner in zip(self.trunk, self.inner, strict=True):
            x = stage(x)
            maps.append(inner(x))
        for lower in (1, 0):
            maps[lower] = maps[lower] + F.interpolate(maps[lower + 1], scale_factor=2.0)
        return [*maps, self.extra(maps[-1])]

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        maps = self.pyramid(x)
        scores = torch.cat([self.scores(self.tower(one)).flatten(2) for one in maps], 2)
        entries = torch.cat([one.flatten(2) for one in maps], 2).transpose(1, 2)
        found = []
        for image, score in zip(entries, scores[:, 0], strict=True):
            (keep,) = torch.where(score >= score.mean())
            deltas = self.boxes(torch.relu(self.box_head(image[keep])))
            corners, sizes = deltas[:, :2].sigmoid(), deltas[:, 2:].exp()
            found.append({"boxes": torch.cat([corners, corners + sizes], 1), "scores": score[keep]})
        return found


@pytest.fixture
def detector() -> Detector:
    torch.manual_seed(0)
    return Detector()


def test_the_trunk_decides_the_stages(detector: Detector) -> None:
    """The map below the trunk has no width of its own, a head over a pyramid no resolution, and boxes are no map."""
    stages = reconfig.stages(detector, IMAGE)
    assert [(stage.reduction, stage.width) for stage in stages] == [(2, 16), (4, 32), (8, 64)]
    assert stages.head == ("box_head", "boxes")
    assert "extra" in stages[0].layers


def test_a_detector_is_rewritten_whole(detector: Detector) -> None:
    plan = reconfig.plan(detector, "10-10-5", example_input=IMAGE)
    result = plan.apply(detector)
    assert [stage.width for stage in plan.stages] == [(16, 16), (32, 32), (64, 32)]
    assert result.inner[2].in_channels == 32
    assert not plan.unscaled()
    for image in result.eval()(torch.rand(2, 3, 64, 64)):
        assert image["boxes"].shape == (len(image["scores"]), 4)


def test_what_follows_a_selection_by_scores_keeps_its_widths(detector: Detector) -> None:
    plan = reconfig.plan(detector, "10-10-10", gamma=1.5, example_input=IMAGE)
    result = plan.apply(detector)
    assert result.trunk[2].inside[1].out_channels == 96
    (frozen,) = [item for item in plan.frozen if "inner.0" in item.layers]
    assert frozen.kind is FrozenKind.CALL
    assert frozen.reason.startswith("how many entries there are depends on values: torch.where at test_detectors.py:")


class Branch(nn.Module):
    """An autoencoder's branch that runs in training alone and gives back maps of the trunk's width."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.trunk = conv(3, 8), nn.Sequential(OrderedDict(a=block(8, 16), b=block(16, 32, 2)))
        self.squeeze, self.back, self.head = nn.Conv2d(32, 6, 1), nn.Conv2d(6, 32, 1), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.trunk(self.stem(x))
        if self.training:
            x = x + self.back(self.squeeze(x))
        return self.head(x.mean((2, 3)))


def test_an_auxiliary_branch_does_not_hold_the_trunk() -> None:
    result = reconfig.apply(Branch(), "10-5", example_input=IMAGE)
    assert (result.trunk.b.shortcut.out_channels, result.back.out_channels) == (16, 16)


class Marked(nn.Module):
    """Behind the last block a branch of few channels that marks its map, and one that is given out beside the classes.

    The marks are pixels shuffled out of four channels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.trunk = conv(3, 8), nn.Sequential(OrderedDict(a=block(8, 16), b=block(16, 32, 2)))
        self.marks, self.depth, self.head = nn.Conv2d(32, 4, 1), nn.Conv2d(32, 6, 1), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(self.stem(x))
        depth = self.depth(x)
        marks = F.avg_pool2d(F.pixel_shuffle(self.marks(x), 2), 2)
        return self.head((x * marks.sigmoid()).mean((2, 3))), depth.relu()


def test_side_branches_behind_the_trunk_do_not_give_a_stage_its_width() -> None:
    plan = reconfig.plan(Marked(), "10-5", example_input=IMAGE)
    assert [stage.width for stage in plan.stages] == [(16, 16), (32, 16)]


def test_what_has_no_smaller_multiple_is_named() -> None:
    plan = reconfig.plan(Marked(), "10-5", example_input=IMAGE, outputs="scale")
    (frozen,) = plan.frozen
    assert (frozen.layers, frozen.width, frozen.kind) == (("marks",), 4, FrozenKind.DIVISOR)
    assert frozen.reason == "its channels come in multiples of 4"


class Shared(nn.Module):
    """A head of few channels that runs on the maps of two stages, and on no other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.trunk = conv(3, 8), nn.ModuleList([block(8, 16), block(16, 16, 2), nn.MaxPool2d(2)])
        self.boxes = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        found = []
        for stage in self.trunk:
            x = stage(x)
            found.append(self.boxes(x).flatten(2))
        return found


def test_a_head_over_a_pyramid_is_no_trunk_at_any_resolution() -> None:
    assert [stage.width for stage in reconfig.stages(Shared(), IMAGE)] == [16, 16]


class Late(Detector):
    """A pyramid that begins at the second stage, whose width is the pyramid's first, with one prediction for all."""

    def pyramid(self, x: Tensor) -> list[Tensor]:
        first = self.trunk[0](self.stem(x))
        second = self.trunk[1](first)
        third = self.trunk[2](second)
        low = self.inner[2](third)
        return [self.inner[1](second) + F.interpolate(low, scale_factor=2.0), low, self.extra(low)]


def test_what_a_pyramid_joins_is_no_trunk() -> None:
    stages = reconfig.stages(Late(), IMAGE)
    assert [(stage.reduction, stage.width) for stage in stages] == [(2, 16), (4, 32), (8, 64)]


class Enlarging(Marked):
    """Enlarges small images first, as detectors do."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(F.interpolate(x, scale_factor=4.0))


def test_stages_follow_each_other_where_the_forward_enlarges_its_image() -> None:
    stages = reconfig.stages(Enlarging(), IMAGE)
    assert [(stage.reduction, stage.resolution, stage.width) for stage in stages] == [
        (1, (256, 256), 16),
        (2, (128, 128), 32),
    ]
