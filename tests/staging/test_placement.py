"""Which stages are found in small networks of known shape, and what the table says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import reconfig
from reconfig import zoo


def conv(width: int, new: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, new, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(new), nn.ReLU())


class Block(nn.Module):
    """A residual block; pointwise first, at the old resolution, as in a bottleneck."""

    def __init__(self, width: int, new: int, stride: int) -> None:
        super().__init__()
        self.reduce = conv(width, new // 2, kernel=1)
        self.conv = conv(new // 2, new, stride)
        self.shortcut = conv(width, new, stride, 1) if (width, stride) != (new, 1) else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.reduce(x)) + self.shortcut(x)


class Classifier(nn.Module):
    def __init__(self, *layers: nn.Module, width: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


def plain() -> nn.Module:
    """A VGG: no block, no stem, a max pool after each stage."""
    return Classifier(conv(3, 8), nn.MaxPool2d(2), conv(8, 16), nn.MaxPool2d(2), conv(16, 32), width=32)


def residual() -> nn.Module:
    return Classifier(
        conv(3, 6), Block(6, 8, 1), Block(8, 8, 1), Block(8, 16, 2), Block(16, 16, 1), Block(16, 32, 2), width=32
    )


def test_a_plain_network_has_no_stem() -> None:
    found = reconfig.stages(plain(), torch.zeros(1, 3, 16, 16))
    assert [(s.reduction, s.width, s.resolution, s.blocks) for s in found] == [
        (1, 8, (16, 16), ()),
        (2, 16, (8, 8), ()),
        (4, 32, (4, 4), ()),
    ]
    assert (found.stem, found.head) == ((), ("head",))
    assert found[0].layers == ("features.0.0",)


def test_blocks_and_stem_of_a_residual_network() -> None:
    found = reconfig.stages(residual(), torch.zeros(1, 3, 16, 16))
    assert [(s.index, s.reduction, s.width, len(s.blocks)) for s in found] == [
        (1, 1, 8, 2),
        (2, 2, 16, 2),
        (3, 4, 32, 1),
    ]
    assert found.stem == ("features.0.0",)
    assert found[2].blocks == ("features.5",)


def test_a_block_belongs_whole_to_the_stage_of_its_output() -> None:
    found = reconfig.stages(residual(), torch.zeros(1, 3, 16, 16))
    assert "features.5.reduce.0" in found[2].layers
    result = reconfig.apply(residual(), "10-10-5", example_input=torch.zeros(1, 3, 16, 16))
    widths = [m.out_channels for m in result.modules() if isinstance(m, nn.Conv2d)]
    assert widths == [6, 4, 8, 8, 4, 8, 8, 16, 16, 8, 16, 8, 16, 16]


def test_the_stem_keeps_its_width_under_gamma() -> None:
    result = reconfig.apply(residual(), "10-10-10", gamma=2, example_input=torch.zeros(1, 3, 16, 16))
    assert result.features[0][0].out_channels == 6
    assert result.features[1].conv[0].out_channels == 16


def test_a_residual_ties_the_stem_to_the_first_stage() -> None:
    model = Classifier(conv(3, 8), Block(8, 8, 1), Block(8, 16, 2), width=16)
    result = reconfig.apply(model, "10-10", gamma=2, example_input=torch.zeros(1, 3, 16, 16))
    assert result.features[0][0].out_channels == 16


def test_a_pointwise_convolution_before_an_average_pool_belongs_to_the_stage_after_it() -> None:
    pooled = Classifier(conv(3, 8), nn.Conv2d(8, 8, 1), nn.AvgPool2d(2), conv(8, 16), width=16)
    found = reconfig.stages(pooled, torch.zeros(1, 3, 16, 16))
    assert [s.layers for s in found] == [("features.0.0",), ("features.1", "features.3.0")]
    between = Classifier(conv(3, 8), nn.Conv2d(8, 8, 1), nn.ReLU(), nn.AvgPool2d(2), conv(8, 16), width=16)
    found = reconfig.stages(between, torch.zeros(1, 3, 16, 16))
    assert [s.layers for s in found] == [("features.0.0", "features.1"), ("features.4.0",)]


def test_a_dense_stage_is_scaled_by_what_enters_it() -> None:
    model = zoo.densenet121()
    found = reconfig.stages(model)
    assert [stage.dense for stage in found] == [True] * 4
    plan = reconfig.plan(model, "10-10-4")
    assert plan.stages[3].width == (1024, 205 + 16 * 32)
    grown = reconfig.plan(model, "10-10-4 growth")
    assert grown.stages[3].width == (1024, 205 + 16 * 13)


def test_the_papers_networks() -> None:
    assert [s.width for s in reconfig.stages(zoo.vgg11())] == [64, 128, 256, 512, 512]
    assert [len(s.blocks) for s in reconfig.stages(zoo.wrn34_10())] == [5, 5, 5]
    assert [len(s.blocks) for s in reconfig.stages(zoo.darts())] == [3, 4, 4]
    assert [s.width for s in reconfig.stages(zoo.resnet18())] == [64, 128, 256, 512]


class Functional(nn.Module):
    """Residuals written in the network's own forward: blocks are what the additions span."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3, padding=1)
        self.enter = nn.Conv2d(5, 8, 3, padding=1)
        self.one = nn.Conv2d(8, 8, 3, padding=1)
        self.reduce = nn.Conv2d(8, 6, 1)
        self.down = nn.Conv2d(6, 16, 3, stride=2, padding=1)
        self.skip = nn.Conv2d(8, 16, 1, stride=2)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(self.stem(x).relu()).relu()
        x = x + self.one(x).relu()
        x = self.down(self.reduce(x).relu()) + self.skip(x)
        return self.head(x.relu().mean((2, 3)))


def test_residuals_in_the_networks_own_forward() -> None:
    found = reconfig.stages(Functional(), torch.zeros(1, 3, 16, 16))
    assert [(s.reduction, s.width) for s in found] == [(1, 8), (2, 16)]
    assert set(found[1].layers) == {"reduce", "down", "skip"}
    assert found.stem[0] == "stem"


class Gated(nn.Module):
    """Squeeze-excite in the last stage: its layers have no positions, and belong to the stage that they gate."""

    def __init__(self) -> None:
        super().__init__()
        self.a = conv(3, 8)
        self.b = conv(8, 16, 2)
        self.squeeze = nn.Conv2d(16, 4, 1)
        self.excite = nn.Conv2d(4, 16, 1)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x))
        x = x * self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return self.head(x.mean((2, 3)))


def test_gates_belong_to_what_they_gate() -> None:
    found = reconfig.stages(Gated(), torch.zeros(1, 3, 16, 16))
    assert {"squeeze", "excite"} <= set(found[1].layers)
    assert found.head == ("head",)


class Auxiliary(nn.Module):
    """A second classifier that runs in training mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.a = conv(3, 8)
        self.b = conv(8, 16, 2)
        self.aux = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Conv2d(16, 10, 1), nn.Flatten(), nn.Linear(40, 3))
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.b(self.a(x))
        y = self.head(x.mean((2, 3)))
        return (y, self.aux(x)) if self.training else y


def test_auxiliary_classifiers_only_follow() -> None:
    model = Auxiliary()
    assert reconfig.stages(model, torch.zeros(1, 3, 16, 16)).head == ("head", "aux.1", "aux.3")
    result = reconfig.apply(model, "10-5", example_input=torch.zeros(1, 3, 16, 16)).train()
    assert (result.aux[1].in_channels, result.aux[1].out_channels) == (8, 10)
    logits, auxiliary = result(torch.rand(2, 3, 16, 16))
    assert (logits.shape, auxiliary.shape) == ((2, 3), (2, 3))


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_stages_by_hand() -> None:
    plan = reconfig.plan(
        residual(),
        "10-5",
        stages={"features.1": 1, "features.2": 1, "features.[345]": 2},
        example_input=torch.zeros(1, 3, 16, 16),
    )
    assert [stage.width for stage in plan.stages] == [(8, 8), (32, 16)]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"nowhere": 1}, r"no module of Classifier matches 'nowhere'; its modules are features, head"),
        (
            {"features.1": 1, "features.3": 3},
            r"stage numbers must be 1, 2, ... without a gap, not \[1, 3\]; write e.g.",
        ),
        ({"features.1": 0}, r"stage numbers must be 1, 2, ... without a gap, not \[0\]"),
        (
            {"features.1": 1, "features.3.conv.2": 2},
            r"no layer that runs in the forward matches the patterns of stage 2",
        ),
    ],
)
def test_stages_by_hand_that_do_not_fit(stages: dict[str, int], message: str) -> None:
    with pytest.raises(reconfig.StageError, match=message):
        reconfig.plan(residual(), "10-4", stages=stages, example_input=torch.zeros(1, 3, 16, 16))


def test_the_table() -> None:
    assert str(reconfig.stages(residual(), torch.zeros(1, 3, 16, 16))) == (
        "stage  scale  resolution  blocks  width                 modules\n"
        "---------------------------------------------------------------\n"
        "    1    1/1       16x16       2      8  features.1, features.2\n"
        "    2    1/2         8x8       2     16  features.3, features.4\n"
        "    3    1/4         4x4       1     32              features.5\n"
        "stem: features.0.0\n"
        "head: head"
    )
