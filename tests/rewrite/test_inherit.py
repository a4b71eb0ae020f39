"""Weights that are carried over: growing keeps the function, shrinking keeps the most important channels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import reconfig
from reconfig import Plan, zoo

IMAGE = torch.zeros(1, 3, 16, 16)


def shaken(model: nn.Module) -> nn.Module:
    """``model`` in eval mode, in double precision, with norms that are not trivial."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return model.double().eval()


def conv(width: int, new: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, new, 3, stride, 1, groups=groups, bias=False), nn.BatchNorm2d(new), nn.ReLU())


class Mixed(nn.Module):
    """Concat, gate, groups, depthwise, shuffle and a flattening head."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 8), conv(3, 12)
        self.down = conv(20, 16, 2)
        self.grouped = conv(16, 16, groups=4)
        self.depthwise = conv(16, 16, groups=16)
        self.gate = nn.Linear(16, 16)
        self.last = conv(16, 24, groups=2)
        self.head = nn.Linear(24 * 64, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(torch.cat([self.a(x), self.b(x)], 1))
        x = x + self.depthwise(self.grouped(x))
        x = x * self.gate(x.mean((2, 3))).sigmoid()[:, :, None, None]
        x = self.last(x)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(x.flatten(1))


FAMILIES = {"mixed": Mixed, "wrn": lambda: zoo.wrn(10, 1), "vgg11": zoo.vgg11, "darts": zoo.darts}


@pytest.mark.parametrize(
    ("name", "gamma"), [("mixed", 1.5), ("mixed", 2.0), ("mixed", 3.0), ("wrn", 1.5), ("vgg11", 1.5), ("darts", 1.5)]
)
def test_growing_keeps_the_function(name: str, gamma: float) -> None:
    model = shaken(FAMILIES[name]())
    size = 16 if name == "mixed" else 32
    image = torch.randn(1, 3, size, size).double()
    plan = reconfig.plan(model, "10-10-10", gamma=gamma, weights="inherit", example_input=image)
    result = plan.apply(model)
    assert plan.params > 1.2 * plan.params_before
    assert not plan.frozen
    torch.testing.assert_close(result(image), model(image), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
class Standardised(nn.Conv2d):
    """A convolution whose weight is standardised and scaled by a gain."""

    def __init__(self, width: int, new: int, stride: int = 1) -> None:
        super().__init__(width, new, 3, stride, 1)
        self.gain = nn.Parameter(torch.rand(new, 1, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(1, self.out_channels, -1)
        scale = (self.gain * 0.3).view(-1)
        weight = F.batch_norm(rows, None, None, weight=scale, training=True, momentum=0.0).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


def test_gains_of_standardised_weights_are_divided() -> None:
    model = nn.Sequential(Standardised(3, 8), nn.ReLU(), Standardised(8, 16, 2), nn.ReLU(), Standardised(16, 16))
    model.extend([nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 5)]).double().eval()
    image = torch.randn(2, 3, 16, 16).double()
    grown = reconfig.apply(model, "10-10", gamma=2, weights="inherit", example_input=image).eval()
    torch.testing.assert_close(grown(image), model(image), rtol=1e-5, atol=0)  # batch norm adds its eps to a variance


class Normed(nn.Module):
    """Each layer sees all before it, through a norm over their channels and a depthwise convolution."""

    def __init__(self, into: int, growth: int, layers: int) -> None:
        super().__init__()
        widths = [into + growth * number for number in range(layers)]
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, groups=width), nn.GroupNorm(1, width), nn.Conv2d(width, growth, 1)
            )
            for width in widths
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


def test_pieces_of_equal_length_lie_one_after_the_other() -> None:
    model = nn.Sequential(conv(3, 8), Normed(8, 8, 3), conv(32, 16, 2), nn.Flatten(), nn.Linear(16 * 64, 5))
    model, image = shaken(model), torch.randn(2, 3, 16, 16).double()
    grown = reconfig.apply(model, "10-10 growth", gamma=2, weights="inherit", example_input=image).eval()
    torch.testing.assert_close(grown(image), model(image))


def test_growing_keeps_the_function_of_a_dense_network() -> None:
    model, image = shaken(zoo.densenet121()), torch.randn(1, 3, 32, 32).double()
    result = reconfig.apply(model, "10-10-10", gamma=1.5, weights="inherit", example_input=image)
    torch.testing.assert_close(result(image), model(image), rtol=1e-9, atol=1e-9)


def test_shrinking_keeps_the_largest_channels() -> None:
    model = nn.Sequential(*conv(3, 8), *conv(8, 20, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 4))
    shaken(model)
    result = reconfig.apply(model, "10-4", weights="inherit", example_input=IMAGE.double())
    norm, head = model[4], model[8]
    energy = (
        model[3].weight.square().sum((1, 2, 3))
        + norm.weight.square()
        + norm.bias.square()
        + head.weight.square().sum(0)
    )
    kept = energy.topk(8).indices.sort().values
    assert torch.equal(result[3].weight, model[3].weight[kept])
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(getattr(result[4], name), getattr(norm, name)[kept])
    assert torch.equal(result[8].weight, head.weight[:, kept])
    assert torch.equal(result[8].bias, head.bias)
    assert torch.equal(result[0].weight, model[0].weight)


def test_a_shrunk_network_is_the_original_with_channels_masked() -> None:
    model = shaken(zoo.resnet18())
    result = reconfig.apply(model, "10-10-4", weights="inherit")
    image = torch.randn(2, 3, 32, 32).double()
    names = dict(result.named_modules())

    def mask(norm: str) -> Tensor:
        """Channels that the result kept: those whose statistics it has."""
        original = dict(model.named_modules())[norm]
        return torch.isin(original.running_mean, names[norm].running_mean).double()[None, :, None, None]

    with torch.no_grad():
        x = torch.relu(model.bn1(model.conv1(image)))
        x = model.layer3(model.layer2(model.layer1(x)))
        for number, block in enumerate(model.layer4):
            stream, inner = mask(f"layer4.{number}.bn2"), mask(f"layer4.{number}.bn1")
            assert int(stream.sum()) == int(inner.sum()) == 205
            y = block.bn2(block.conv2(torch.relu(block.bn1(block.conv1(x))) * inner)) * stream
            x = torch.relu(y + block.shortcut(x) * stream)
        expected = model.linear(x.mean((2, 3)))
        torch.testing.assert_close(result(image), expected, rtol=1e-8, atol=1e-8)


def test_what_does_not_change_is_carried_over() -> None:
    model = shaken(zoo.wrn(10, 1))
    result = reconfig.apply(model, "10-10-10", gamma=1.0, weights="inherit")
    for (name, a), (_, b) in zip(model.state_dict().items(), result.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
        assert a.data_ptr() != b.data_ptr() or a.numel() == 0


def test_cloned_blocks_start_as_their_source() -> None:
    model = shaken(zoo.wrn(16, 1))
    result = reconfig.apply(model, "d2-2-3", weights="inherit")
    source, clone = result.blocks[2].layer[1], result.blocks[2].layer[2]
    assert torch.equal(source.conv1.weight, clone.conv1.weight)
    assert torch.equal(source.conv1.weight, model.blocks[2].layer[1].conv1.weight)


def test_the_plan_carries_what_is_needed() -> None:
    model = shaken(Mixed())
    plan = reconfig.plan(model, "10-5", weights="inherit", example_input=IMAGE.double())
    again = Plan.from_json(plan.to_json())
    assert again == plan
    for a, b in zip(plan.apply(model).parameters(), again.apply(model).parameters(), strict=True):
        assert torch.equal(a, b)
