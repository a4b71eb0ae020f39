"""RobustResNet, RaWRN and RaResNet: the printed counts, and that their blocks compute what the papers say."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from fvcore.nn import parameter_count
from graphs import check
from torch import Tensor, nn

import reconfig
from reconfig import zoo
from reconfig.zoo.gates import SqueezeExcite
from reconfig.zoo.raresnet import RaBottleneck
from reconfig.zoo.rawrn import RaBasicBlock
from reconfig.zoo.robustresnet import RobustResBlock


def on_meta(factory: Callable[..., nn.Module], *args: object, **kwargs: object) -> nn.Module:
    with torch.device("meta"):
        return factory(*args, **kwargs)


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def image(size: int) -> Tensor:
    return torch.zeros(1, 3, size, size, device="meta")


# -- counts

slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("depth", "widen", "parameters", "printed"),
    [
        (4, 10, 39_588_314, "39.6"),
        (5, 12, 70_538_874, "70.5"),
        pytest.param(7, 14, 132_890_938, "133", marks=slow),
        pytest.param(11, 16, 269_940_570, "270", marks=slow),
    ],
)
def test_wrn_with_robustresblock(depth: int, widen: int, parameters: int, printed: str) -> None:
    """Table 1, as printed with the paper's code."""
    model = on_meta(zoo.robustresnet, (depth,) * 3, (widen,) * 3)
    assert count(model) == parameter_count(model)[""] == parameters
    assert f"{parameters / 1e6:.3g}" == printed


@pytest.mark.parametrize(
    ("rule", "factory", "printed", "multiply_adds", "printed_multiply_adds"),
    [
        ("robustresnet-a1", "robustresnet_a1", "19.2", 5_137_131_776, 5.11),
        pytest.param("robustresnet-a2", "robustresnet_a2", "39", 10_831_673_984, 10.8, marks=slow),
        pytest.param("robustresnet-a3", "robustresnet_a3", "75.9", 19_961_343_488, 19.9, marks=slow),
        pytest.param("robustresnet-a4", "robustresnet_a4", "147", 39_493_440_000, 39.4, marks=slow),
    ],
)
def test_robustresnets(rule: str, factory: str, printed: str, multiply_adds: int, printed_multiply_adds: float) -> None:
    """The named rules make them out of WRN-28-10 with their block, to the last tensor."""
    model, plan = on_meta(getattr(zoo, factory)), reconfig.plan(on_meta(zoo.robustresnet), rule)
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == plan.after
    assert plan.params == count(model) == parameter_count(model)[""]
    assert f"{plan.params / 1e6:.3g}" == printed
    assert plan.flops == multiply_adds  # theirs are by another counter
    assert 1 < plan.flops / 1e9 / printed_multiply_adds < 1.006


@pytest.mark.parametrize(
    ("factory", "parameters", "printed"),
    [
        ("raresnet50", 26_143_228, "26"),
        ("raresnet101", 45_901_928, "46"),
        ("rawrn101_2", 104_065_776, "104"),
    ],
)
def test_raresnets(factory: str, parameters: int, printed: str) -> None:
    model = on_meta(getattr(zoo, factory))
    assert count(model) == parameter_count(model)[""] == parameters
    assert f"{parameters / 1e6:.0f}" == printed
    assert f"{parameters:,} parameters (printed: {printed} M)" in getattr(zoo, factory).__doc__
    assert model(image(64)).shape == (1, 1000)


@pytest.mark.parametrize(
    ("rule", "factory", "miss"),
    [
        ("raresnet-50", "raresnet50", 12_619),
        ("raresnet-101", "raresnet101", 5_230),
        ("rawrn-101-2", "rawrn101_2", 2_132),
    ],
)
def test_the_rules_of_raresnets_miss_the_gates_of_first_blocks_alone(rule: str, factory: str, miss: int) -> None:
    model = on_meta(getattr(zoo, factory))
    plan = reconfig.plan(on_meta(zoo.raresnet), rule, example_input=image(64))
    assert abs(plan.params - count(model)) == miss
    wrong = {name for name, tensor in model.state_dict().items() if tuple(tensor.shape) != plan.after[name]}
    assert wrong
    assert all(".0.gate." in name for name in wrong)


def test_rawrn_by_its_rule() -> None:
    plan = reconfig.plan(on_meta(zoo.rawrn, 22, 16), "d3-3-1 c216-432-864")
    model = on_meta(zoo.RaWideResNet, (3, 3, 1), (216, 432, 864))
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == plan.after


@pytest.mark.slow
def test_rawrn_70_16_by_its_rule() -> None:
    plan = reconfig.plan(on_meta(zoo.rawrn, 70, 16), "rawrn-70-16")
    model = on_meta(zoo.rawrn70_16)
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == plan.after
    assert plan.params == count(model) == 267_240_802


# -- reconfig on them

SMALL: dict[str, Callable[[], nn.Module]] = {
    "robustresnet": lambda: zoo.RobustResNet((2, 1, 2), (16, 32, 64)),
    "rawrn": lambda: zoo.RaWideResNet((2, 1, 2), (16, 32, 64), stem=12),
    "raresnet": lambda: zoo.RaResNet((2, 1, 2), (32, 64, 128), stem=12, num_classes=10),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_rule_rewrites_them(name: str) -> None:
    plan, _ = check(SMALL[name](), torch.rand(2, 3, 32, 32), "d3-1-1 w10-7-4")
    assert plan.frozen == ()
    assert [stage.blocks for stage in plan.stages] == [(2, 3), (1, 1), (2, 1)]


def test_the_stem_is_no_stage_and_the_pool_is_postponed() -> None:
    stages = reconfig.stages(on_meta(zoo.raresnet50), image(224))
    assert stages.stem == ("stem.0",)
    assert [(stage.reduction, len(stage.blocks), stage.width) for stage in stages] == [
        (4, 5, 288),
        (8, 8, 576),
        (16, 13, 1120),
        (32, 1, 2160),
    ]


# -- what the blocks compute


def test_a_gate_is_a_sigmoid_of_two_layers_on_the_means() -> None:
    gate, x = SqueezeExcite(6, 2, bias=True), torch.rand(3, 6, 5, 5)
    squeezed = (x.mean((2, 3)) @ gate.reduce.weight[:, :, 0, 0].T + gate.reduce.bias).clamp(min=0)
    opened = 1 / (1 + (-(squeezed @ gate.expand.weight[:, :, 0, 0].T + gate.expand.bias)).exp())
    torch.testing.assert_close(gate(x), x * opened[:, :, None, None])


@pytest.mark.parametrize("stride", [1, 2])
def test_scales_follow_one_another_but_where_the_block_downsamples(stride: int) -> None:
    block = RobustResBlock(32, 32, stride).eval()
    conv1, taken = torch.rand(2, 64, 8, 8), {}
    block.bn2.register_forward_hook(lambda *_: conv1)
    for number, conv in enumerate(block.convs):
        conv.register_forward_pre_hook(lambda _, inputs, number=number: taken.update({number: inputs[0]}))
    seen = []
    block.conv3.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    block(torch.rand(2, 32, 8, 8))
    pieces, (done,) = conv1.chunk(8, dim=1), seen
    outputs = done.chunk(8, dim=1)
    for number in range(7):
        before = outputs[number - 1] if number and stride == 1 else 0
        torch.testing.assert_close(taken[number], pieces[number] + before)
        assert block.convs[number].groups == 4
        # A norm in eval mode that has seen nothing divides by sqrt(1 + 1e-5).
        expected = (block.convs[number](taken[number]) / math.sqrt(1 + 1e-5)).clamp(min=0)
        torch.testing.assert_close(outputs[number], expected)
    last = pieces[7] if stride == 1 else F.avg_pool2d(pieces[7], 3, 2, padding=1)
    torch.testing.assert_close(outputs[7], last)


def test_the_gated_norm_comes_on_top_of_both_residuals() -> None:
    block, x = RobustResBlock(64, 16, 1).eval(), torch.rand(2, 64, 4, 4)
    seen = []
    block.conv3.register_forward_hook(lambda *parts: seen.append(parts[2]))
    out = block(x)
    torch.testing.assert_close(out, x + seen[0] + block.gate(block.bn_gate(seen[0])))
    assert len(block.shortcut) == 0
    assert len(RobustResBlock(64, 32, 1).shortcut) == len(RobustResBlock(64, 16, 2).shortcut) == 1


def test_both_branches_of_a_changing_block_see_the_activated_input() -> None:
    block, x = RobustResBlock(16, 16, 1).eval(), torch.randn(2, 16, 4, 4)
    seen = []
    for layer in (block.conv1, block.shortcut[0]):
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    block(x)
    activated = (x / math.sqrt(1 + 1e-5)).clamp(min=0)
    assert len(seen) == 2
    for given in seen:
        torch.testing.assert_close(given, activated)


def test_planes_that_no_group_divides_are_refused() -> None:
    with pytest.raises(ValueError, match=r"planes=\[16, 40\] must be multiples of 16: .* Try \[80, 224, 192\]"):
        zoo.RobustResNet((1, 1), (16, 40))
    with pytest.raises(ValueError, match=r"planes=\[0\] must be multiples of 16"):
        zoo.RobustResNet((1,), (0,))


@pytest.mark.parametrize(("args"), [(35, 10), (4, 1), (34, 0)])
def test_rawrn_refuses(args: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"must be 6n \+ 4, and widen=\d+ at least 1\. Try rawrn\(70, 16\)\."):
        zoo.rawrn(*args)


def test_a_rawrn_block_gates_what_it_adds() -> None:
    block, x = RaBasicBlock(8, 8, 1).eval(), torch.randn(2, 8, 6, 6)
    normed = x / math.sqrt(1 + 1e-5)
    inner = F.conv2d(normed * normed.sigmoid(), block.conv1.weight, padding=1) / math.sqrt(1 + 1e-5)
    added = F.conv2d(inner * inner.sigmoid(), block.conv2.weight, padding=1)
    torch.testing.assert_close(block(x), x + block.gate(added))
    assert block.gate.reduce.out_channels == 2
    assert block.bn1.momentum == 0.01


def test_a_rawrn_block_of_stride_2_pads_right_and_below() -> None:
    block = RaBasicBlock(1, 4, 2).eval()
    reached = []
    block.conv1.register_forward_pre_hook(lambda _, inputs: reached.append(inputs[0]))
    assert block(torch.ones(1, 1, 4, 4)).shape == (1, 4, 2, 2)
    assert reached[0].shape == (1, 1, 5, 5)
    assert reached[0][0, 0, 4].abs().sum() == reached[0][0, 0, :, 4].abs().sum() == 0
    assert (reached[0][0, 0, :4, :4] > 0).all()


def test_a_raresnet_block_as_the_paper_has_it() -> None:
    block, x = RaBottleneck(16, 16, 1, groups=2).eval(), torch.randn(2, 16, 5, 5)
    by = math.sqrt(1 + 1e-5)
    out = F.silu(F.conv2d(x, block.conv1.weight))
    out = F.silu(F.conv2d(out, block.conv2.weight, padding=1, groups=2) / by)
    out = F.conv2d(block.gate(out), block.conv3.weight) / by
    torch.testing.assert_close(block(x), F.silu(x + out))
    assert block.gate.reduce.out_channels == 4
    assert RaBottleneck(12, 16, 2, groups=2).gate.reduce.out_channels == 3


def test_their_initialisation_is_that_of_the_papers_code() -> None:
    torch.manual_seed(0)
    for model in (zoo.RobustResNet((1,), (64,)), zoo.RaWideResNet((1,), (64,))):
        for name, module in model.named_modules():
            if isinstance(module, nn.Conv2d) and "gate" not in name:
                expected = math.sqrt(2 / (math.prod(module.kernel_size) * module.out_channels))
                assert module.weight.std().item() == pytest.approx(
                    expected, rel=5 / math.sqrt(2 * module.weight.numel())
                ), name
        assert (model.fc.bias == 0).all()
    model = zoo.RaResNet((1,), (64,), num_classes=1000)
    assert model.fc.weight.std().item() == pytest.approx(0.01, rel=0.05)
    grouped = model.stages[0][0].conv2.weight
    assert grouped.std().item() == pytest.approx(math.sqrt(2 / (9 * 16)), rel=5 / math.sqrt(2 * grouped.numel()))
