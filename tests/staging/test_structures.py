"""Networks that are not built like a ResNet: nested residuals, pools at a unit's end, side branches, decoders."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from graphs import check
from structures import (
    AlongAxes,
    Dense,
    Hourglass,
    Net,
    Peephole,
    PlainUNet,
    PooledBlock,
    Pyramid,
    Reduction,
    UNet,
    block,
    conv,
    nested,
    nested_unet,
    plain,
)
from torch import Tensor, nn

import reconfig
from reconfig import FrozenError, FrozenKind

IMAGE = torch.zeros(2, 3, 32, 32)


@pytest.mark.parametrize(
    ("model", "stages"),
    [
        (nested(16, 32, 64), [(32, 16), (16, 32), (8, 64)]),
        (nested(16, 32), [(32, 16), (16, 32)]),
        (plain(Dense(16, 4, 32), Dense(32, 4, 64), Dense(64, 4, 64)), [(32, 32), (16, 64), (8, 64)]),
        (plain(PooledBlock(16, 16), PooledBlock(16, 32), block(32, 64)), [(32, 16), (16, 32), (8, 64)]),
        (plain(block(16, 32), Hourglass(32, 32), block(32, 64, 2), Hourglass(64, 16)), [(32, 32), (16, 64)]),
        (plain(block(16, 16), block(16, 64, 2), block(64, 64), Pyramid(64)), [(32, 16), (16, 64)]),
        (UNet(16, 32, 64), [(32, 16), (16, 32), (8, 64)]),
        (PlainUNet(8, 16, 32, 64), [(32, 8), (16, 16), (8, 32), (4, 64)]),
        (nested_unet(8, 16, 32, 64), [(32, 8), (16, 16), (8, 32), (4, 64)]),
        (
            plain(AlongAxes(16, 32), conv(16, 32, 3, 2), AlongAxes(32, 16), conv(32, 64, 3, 2), AlongAxes(64, 8)),
            [(32, 16), (16, 32), (8, 64)],
        ),
    ],
    ids=[
        "nested",
        "nested, two stages",
        "transitions",
        "pools",
        "masks",
        "pyramid",
        "decoder",
        "modules",
        "inside out",
        "axes",
    ],
)
def test_stages_are_the_trunks(model: nn.Module, stages: list[tuple[int, int]]) -> None:
    found = reconfig.stages(model, IMAGE)
    assert [(stage.resolution[0], stage.width) for stage in found] == stages
    plan = reconfig.plan(model, "10-5", example_input=IMAGE)
    wide, last = plan.stages[-2], plan.stages[-1]
    assert wide.width[0] == wide.width[1]
    assert last.width[1] == last.width[0] // 2
    assert not plan.frozen
    check(model, IMAGE, "10-5")


def test_a_stack_of_hourglasses_is_a_trunk() -> None:
    """Where most layers work at lower resolutions, these are no side branches."""
    model = Net(nn.Sequential(*(Hourglass(16, 16) for _ in range(2))), 16, 16)
    for glass in model.trunk:
        glass.mask.extend([conv(16, 16), conv(16, 16), conv(16, 16)])
    assert [stage.resolution for stage in reconfig.stages(model, IMAGE)] == [(32, 32), (16, 16), (8, 8)]


def test_a_decoder_is_named() -> None:
    found = reconfig.stages(UNet(16, 32, 64), IMAGE)
    assert [stage.decoder for stage in found] == [("up.1.0", "image"), ("up.0.0",), ()]
    assert "decoder at stage 2: up.0.0" in str(found)
    assert not any(stage.decoder for stage in reconfig.stages(nested(16, 32), IMAGE))


def test_pieces_of_a_concat_scale_with_the_stages_that_make_them() -> None:
    trunk = nn.Sequential(block(16, 16), Reduction(16), block(32, 32), Reduction(32), block(64, 64))
    plan = reconfig.plan(Net(trunk, 16, 64), "10-10-5", example_input=IMAGE)
    assert [stage.width for stage in plan.stages] == [(16, 16), (32, 32), (64, 48)]
    assert {frozen.kind for frozen in plan.frozen} == {FrozenKind.TIED}
    assert plan.stages[-1].kept == 32
    assert not plan.unscaled()  # half of it scales


def test_what_follows_a_value_keeps_its_widths() -> None:
    plan, result = check(Peephole(), IMAGE, "10-5")
    (frozen,) = plan.frozen
    assert frozen.layers == ("last.inside.1", "last.shortcut")
    assert frozen.reason.startswith("what the forward does next depends on a value, read by Tensor.__int__ at struct")
    assert result.last.inside[0][0].out_channels == 8  # in front of it, all scales


def test_a_stage_that_stays_whole_is_said_first() -> None:
    plan = reconfig.plan(Peephole(), "10-4", example_input=IMAGE)
    first = "stage 2 keeps 16 of its 16 channels, which the rule asks to change: what the forward does next depends on"
    assert str(plan).startswith(first)
    with pytest.raises(FrozenError, match="1 widths cannot be scaled"):
        reconfig.plan(Peephole(), "10-4", example_input=IMAGE, strict=True)
    assert not reconfig.plan(nested(16, 32), "10-4", example_input=IMAGE).unscaled()


class Nine(nn.Module):
    """A ResNet-9: layers that double the width and pool, and residuals without a module of their own behind some."""

    def __init__(self, pool: Callable[[int], nn.Module] = nn.MaxPool2d) -> None:
        super().__init__()
        self.one, self.two, self.three, self.four = conv(3, 8), conv(8, 16), conv(16, 24), conv(24, 32)
        self.res1, self.res2 = nn.Sequential(conv(16, 16), conv(16, 16)), nn.Sequential(conv(32, 32), conv(32, 32))
        self.pool, self.head = pool(2), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.two(self.one(x)))
        x = self.pool(self.three(self.res1(x) + x))
        x = self.pool(self.four(x))
        return self.head((self.res2(x) + x).mean((2, 3)))


@pytest.mark.parametrize("pool", [nn.MaxPool2d, nn.AvgPool2d])
def test_a_layer_whose_width_is_the_trunks_behind_its_pool_is_of_the_trunks_stage(pool: type[nn.Module]) -> None:
    plan, result = check(Nine(pool), torch.zeros(2, 3, 32, 32), "10-4")
    assert [(stage.reduction, stage.width) for stage in plan.stages] == [(2, (24, 24)), (8, (32, 13))]
    assert (result.four[0].out_channels, result.res2[1][0].out_channels, result.two[0].out_channels) == (13, 13, 16)
    assert not plan.frozen


def test_a_layer_before_a_pool_stays_where_no_trunk_has_its_width() -> None:
    layers = [conv(3, 8), nn.MaxPool2d(2), conv(8, 16), nn.MaxPool2d(2), conv(16, 16), nn.AdaptiveAvgPool2d(1)]
    stages = reconfig.stages(nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 5)), torch.zeros(2, 3, 32, 32))
    assert [(stage.reduction, stage.width) for stage in stages] == [(1, 8), (2, 16), (4, 16)]


class Registers(nn.Module):
    """Patches beside four tokens of a parameter, behind a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.tokens = nn.Conv2d(3, 24, 4, 4), nn.Parameter(torch.zeros(1, 4, 24))
        self.inside, self.back = nn.Linear(24, 48), nn.Linear(48, 24)
        self.again, self.head = nn.Linear(24, 24), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.tokens.expand(len(x), -1, -1), x], 1)
        x = x + self.back(self.inside(x).relu())
        return self.head((x + self.again(x)).mean(1))


def test_tokens_of_a_parameter_are_positions() -> None:
    (stage,) = reconfig.stages(Registers(), IMAGE)
    assert (stage.reduction, stage.width, stage.resolution) == (4, 24, (68,))
    result = reconfig.apply(Registers(), "10-5", example_input=IMAGE)
    assert (tuple(result.tokens.shape), result.again.out_features) == ((1, 4, 12), 12)


class Experts(nn.Module):
    """A convolution with weights of each image's own, mixed of a few; the images are run as groups of one."""

    def __init__(self, incoming: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.shape, self.stride, self.route = (out, incoming, 3, 3), stride, nn.Linear(incoming, 2)
        self.weight = nn.Parameter(torch.randn(2, out * incoming * 9))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        weight = torch.matmul(self.route(x.mean((2, 3))).sigmoid(), self.weight)
        weight = weight.view(batch * self.shape[0], channels, 3, 3)
        x = x.reshape(1, batch * channels, height, width)
        x = F.conv2d(x, weight, stride=self.stride, padding=1, groups=batch)
        return x.permute(1, 0, 2, 3).view(batch, self.shape[0], x.shape[-2], x.shape[-1])


class Mixture(nn.Module):
    """The like, whose channels can be told from its parameter's shape, with a bias of each image's own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.route = nn.Linear(width, 2)
        self.weight, self.bias = nn.Parameter(torch.randn(2, width, width, 3, 3)), nn.Parameter(torch.zeros(2, width))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        route = self.route(x.mean((2, 3))).softmax(1)
        weight = torch.mm(route, self.weight.view(2, -1)).view(-1, channels, 3, 3)
        x = x.view(1, -1, height, width)
        x = F.conv2d(x, weight, torch.mm(route, self.bias).view(-1), padding=1, groups=batch)
        return x.view(batch, channels, height, width)


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.down = conv(3, 8), block(8, 8), conv(8, 16, 3, 2)
        self.two = nn.ModuleList(Experts(16, 16) for _ in range(2))
        self.three, self.last, self.head = Experts(16, 32, 2), conv(32, 64), nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(self.one(self.stem(x)))
        for experts in self.two:
            x = x + experts(x).relu()
        return self.head(self.last(self.three(x).relu()).mean((2, 3)))


def test_maps_of_convolutions_whose_weights_depend_on_the_image_have_channels() -> None:
    stages = reconfig.stages(Mixed(), IMAGE)
    assert [(stage.reduction, stage.resolution, stage.width) for stage in stages] == [
        (1, (32, 32), 8),
        (2, (16, 16), 16),
        (4, (8, 8), 64),
    ]
    _, result = check(Mixed(), IMAGE, "10-10-5")
    assert (result.three.shape[0], result.head.in_features) == (32, 32)


def test_what_makes_weights_is_no_layer_of_a_stage() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.one, self.two = conv(3, 8), Mixture(8), Mixture(8)
            self.down, self.three, self.head = conv(8, 32, 3, 2), Mixture(32), nn.Linear(32, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            x = x + self.one(x).relu()
            x = self.down(x + self.two(x).relu())
            return self.head((x + self.three(x)).mean((2, 3)))

    stages = reconfig.stages(Net(), IMAGE)
    assert [(stage.reduction, stage.resolution, stage.width) for stage in stages] == [
        (1, (32, 32), 8),
        (2, (16, 16), 32),
    ]
    plan, result = check(Net(), IMAGE, "10-5")
    assert not plan.frozen
    assert (tuple(result.three.weight.shape), tuple(result.three.bias.shape)) == ((2, 16, 16, 3, 3), (2, 16))


class GroupSpread(nn.Module):
    """Divides by the spread of each of four groups, over channels and positions, as an EvoNorm does."""

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        spread = x.reshape(batch, 4, channels // 4, height, width).std((2, 3, 4), keepdim=True)
        return x / spread.expand(batch, 4, channels // 4, height, width).reshape(batch, channels, height, width)


def test_statistics_of_groups_are_no_maps_of_a_lower_resolution() -> None:
    layers = [
        *(nn.Conv2d(3, 8, 3, 2, 1), GroupSpread(), nn.Conv2d(8, 16, 3, 2, 1), GroupSpread()),
        *(nn.Conv2d(16, 32, 3, 2, 1), GroupSpread(), nn.Conv2d(32, 64, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ]
    stages = reconfig.stages(nn.Sequential(*layers, nn.Linear(64, 5)), IMAGE)
    assert [(stage.reduction, stage.width, stage.decoder) for stage in stages] == [(2, 8, ()), (4, 16, ()), (8, 64, ())]


class Branches(nn.Module):
    """Patches of two sizes, each by a few convolutions, that residuals follow."""

    def __init__(self) -> None:
        super().__init__()
        ways = (((4, 8), (2, 16)), ((2, 8), (2, 8), (2, 16)))
        self.patch_embed = nn.ModuleList(self._patches(way) for way in ways)
        self.blocks, self.head = nn.ModuleList(block(16, 16) for _ in ways), nn.Linear(16, 5)

    @staticmethod
    def _patches(way: tuple[tuple[int, int], ...]) -> nn.Sequential:
        widths = [3, *(width for _, width in way)]
        return nn.Sequential(*(nn.Conv2d(a, b, by, by) for a, (by, b) in zip(widths, way, strict=False)))

    def forward(self, x: Tensor) -> Tensor:
        patches = [embed(x) for embed in self.patch_embed]
        branches = [block(x) for x, block in zip(patches, self.blocks, strict=True)]
        return self.head(torch.stack([x.mean((2, 3)) for x in branches]).mean(0))


def test_a_list_of_stems_is_a_stem() -> None:
    stages = reconfig.stages(Branches(), IMAGE)
    assert [(stage.reduction, stage.width) for stage in stages] == [(8, 16)]
    assert stages.stem == tuple(f"patch_embed.{path}" for path in ("0.0", "0.1", "1.0", "1.1", "1.2"))
    check(Branches(), IMAGE, "10-5")


class Masked(nn.Module):
    """A convolution, and a mask that more convolutions make of the mean of its map, on a grid of two by two."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(width, width, 3, padding=1)
        self.mask = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        inside = self.body(x).relu()
        mask = self.mask(F.adaptive_avg_pool2d(inside.mean(1, keepdim=True), 2))
        return x + inside * F.interpolate(mask, inside.shape[2:]).sigmoid()


def test_masks_of_one_channel_are_no_trunk_however_many_layers_make_them() -> None:
    model = plain(Masked(16), conv(16, 32, 3, 2), Masked(32), conv(32, 64, 3, 2), Masked(64))
    stages = reconfig.stages(model, IMAGE)
    assert [(stage.reduction, stage.width, stage.blocks) for stage in stages] == [
        (1, 16, ("trunk.0",)),
        (2, 32, ("trunk.2",)),
        (4, 64, ("trunk.4",)),
    ]
    check(model, IMAGE, "10-10-4")


def test_the_image_may_be_given_behind_a_number() -> None:
    class Timed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last, self.head = conv(3, 8, 3, 2), conv(8, 16, 3, 2), nn.Linear(16, 5)

        def forward(self, time: Tensor, x: Tensor) -> Tensor:
            return self.head(self.last(self.first(x * time)).mean((2, 3)))

    stages = reconfig.stages(Timed(), (torch.tensor(1.0), IMAGE))
    assert [(stage.reduction, stage.width) for stage in stages] == [(2, 8), (4, 16)]


def test_what_makes_weights_is_no_head_of_a_network_that_has_another_in_training() -> None:
    class Trained(Mixed):
        def __init__(self) -> None:
            super().__init__()
            self.beside = nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            out = super().forward(x)
            return (out, self.beside(self.one(self.stem(x)).mean((2, 3)))) if self.training else out

    assert reconfig.stages(Trained(), IMAGE).head == ("head", "beside")
