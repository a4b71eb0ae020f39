"""Fresh weights follow the law of the original's initialisation, corrected for the new shapes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import reconfig
from reconfig import zoo

IMAGE = torch.zeros(1, 3, 16, 16)
INITS: dict[str, Callable[[Tensor], Tensor]] = {
    "kaiming_normal fan_out": lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
    "kaiming_normal fan_in": lambda w: nn.init.kaiming_normal_(w, mode="fan_in", nonlinearity="relu"),
    "kaiming_uniform": lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)),
    "xavier_normal": nn.init.xavier_normal_,
    "normal 0.02": lambda w: nn.init.normal_(w, std=0.02),
}


def network(init: Callable[[Tensor], Tensor]) -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv2d(3, 48, 3, padding=1, bias=False),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.Conv2d(48, 64, 3, padding=1, stride=2, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.Conv2d(64, 200, 3, padding=1, bias=False),
        nn.BatchNorm2d(200),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(200, 10),
    )
    for module in model:
        if isinstance(module, nn.Conv2d):
            init(module.weight)
    return model


@pytest.mark.parametrize("name", INITS)
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_the_law_is_found_and_corrected(name: str, gamma: float) -> None:
    result = reconfig.apply(network(INITS[name]), "10-6", gamma=gamma, example_input=IMAGE)
    for module in result:
        if isinstance(module, nn.Conv2d):
            expected = INITS[name](torch.empty_like(module.weight))
            assert float(module.weight.detach().std()) == pytest.approx(float(expected.std()), rel=0.1)
            weight = module.weight.detach()
            kurtosis = ((weight - weight.mean()) / weight.std()).pow(4).mean()
            assert float(kurtosis) == pytest.approx(1.8 if "uniform" in name else 3.0, rel=0.15)


def test_torchs_own_linear_and_bias() -> None:
    model = network(INITS["kaiming_normal fan_in"])
    result = reconfig.apply(model, "10-4", example_input=IMAGE)
    linear = result[-1]
    assert linear.in_features == 80
    assert float(linear.weight.detach().abs().max()) <= 1 / math.sqrt(80) * 1.1
    assert float(linear.weight.detach().std()) == pytest.approx(1 / math.sqrt(3 * 80), rel=0.1)
    assert 0 < float(linear.bias.detach().abs().max()) <= 1 / math.sqrt(80) * 1.6


def test_constants_stay_and_statistics_start_over() -> None:
    model = network(INITS["kaiming_normal fan_in"])
    nn.init.zeros_(model[7].weight)
    nn.init.constant_(model[4].bias, 0.25)
    model.train()(torch.rand(8, 3, 16, 16))
    assert model[4].num_batches_tracked == 1
    result = reconfig.apply(model, "10-4", example_input=IMAGE)
    assert not result[7].weight.any()
    assert (result[4].bias == 0.25).all()
    assert not result[4].running_mean.any()
    assert (result[4].running_var == 1).all()
    assert result[4].num_batches_tracked == 0


def test_a_trained_norm_starts_over() -> None:
    model = network(INITS["kaiming_normal fan_in"])
    nn.init.normal_(model[4].weight, 1.0, 0.1)
    nn.init.normal_(model[4].bias)
    result = reconfig.apply(model, "10-4", example_input=IMAGE)
    assert (result[4].weight == 1).all()
    assert not result[4].bias.any()


class Scaled(nn.Module):
    """A layer of the user's own, with its own init and a fixed filter."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.weight = nn.Parameter(torch.empty(width, width, 3, 3))
        self.scale = nn.Parameter(torch.full((width, 1, 1), 1e-3))
        self.register_buffer("filter", torch.tensor([1.0, 2.0, 1.0]).repeat(width, 1, 1, 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.dirac_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.conv2d(x, self.weight, padding=1) * self.scale
        return nn.functional.conv2d(x, self.filter, padding=(0, 1), groups=self.width)


def test_a_class_uses_its_own_reset_parameters_and_keeps_its_filters() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), Scaled(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )
    result = reconfig.apply(model, "5-5", example_input=IMAGE)
    assert torch.equal(result[1].weight, nn.init.dirac_(torch.empty(4, 4, 3, 3)))
    assert torch.equal(result[1].scale, torch.full((4, 1, 1), 1e-3))
    assert torch.equal(result[1].filter, model[1].filter[:4])
    assert result[1].width == 4


def test_the_papers_wide_residual_network() -> None:
    result = reconfig.apply(zoo.wrn(16, 4), "10-10-4")
    weight = result.blocks[2].layer[1].conv1.weight
    assert weight.shape == (102, 102, 3, 3)
    assert float(weight.detach().std()) == pytest.approx(math.sqrt(2 / (102 * 9)), rel=0.05)
    assert not result.fc.bias.any()
