"""Example inputs: what is accepted, what is tried, and what the errors say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import reconfig
from reconfig import zoo
from reconfig.trace.example import probe


class Net(nn.Module):
    """Takes 3 channels, at any size of at least 4."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3)
        self.b = nn.Conv2d(8, 8, 3, stride=2)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.a(x)).mean((2, 3)))


class Pair(Net):
    def forward(self, x: Tensor, weight: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x * weight)


class Data(Net):
    """Needs numbers to run, so it cannot run on meta."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x / max(1.0, x.abs().max().item()))


def test_usual_sizes_are_tried() -> None:
    assert probe(zoo.vgg11(), None).inputs[0].shape == (2, 3, 32, 32)


def test_a_size_that_leaves_single_positions_is_too_small() -> None:
    torchvision = pytest.importorskip("torchvision")
    assert probe(torchvision.models.resnet18(), None).inputs[0].shape == (2, 3, 224, 224)


def test_a_convolution_that_covers_its_input_is_no_sign_of_too_small_a_size() -> None:
    lenet = nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.Conv2d(16, 120, 5), nn.Flatten()
    )
    lenet.append(nn.Linear(120, 10))
    assert probe(lenet, None).inputs[0].shape == (2, 1, 32, 32)


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto", "mobilenetv3_small_050"])
def test_a_small_image_has_the_stages_of_a_large_one(name: str) -> None:
    """At 32x32 the last stage of a network for ImageNet is 1x1, as what is pooled is."""
    timm = pytest.importorskip("timm")
    model = timm.create_model(name, num_classes=10)
    large, small = (reconfig.plan(model, "10-10-4", example_input=torch.zeros(1, 3, s, s)) for s in (224, 32))
    assert small.after == large.after
    assert small.params < small.params_before
    assert [stage.blocks for stage in small.stages] == [stage.blocks for stage in large.stages]
    assert [stage.reduction for stage in small.stages] == [stage.reduction for stage in large.stages]
    assert small.stages[-1].resolution == (1, 1)


def test_timms_configuration_comes_first() -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("resnet18", num_classes=5)
    model.default_cfg = {**model.default_cfg, "input_size": (3, 160, 160)}
    assert probe(model, None).inputs[0].shape == (2, 3, 160, 160)


def test_channels_come_from_the_first_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3, stride=2), nn.Flatten(1), nn.LazyLinear(2))
    model(torch.zeros(1, 1, 28, 28))
    assert probe(model, None).inputs[0].shape == (2, 1, 28, 28)


def test_one_dimension() -> None:
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Conv1d(4, 8, 3, stride=2), nn.AdaptiveAvgPool1d(1))
    assert reconfig.apply(model, "10-5")[2].out_channels == 8  # the output keeps its width
    assert reconfig.stages(model)[0].resolution == (30,)


def test_several_inputs() -> None:
    example = (torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 1, 1))
    result = reconfig.apply(Pair(), "10-5", example_input=example)
    assert result(*example).shape == (1, 2)
    assert result.b.out_channels == 4


def test_a_model_that_needs_numbers_is_run_on_the_cpu() -> None:
    start = probe(Data(), torch.zeros(1, 3, 16, 16))
    assert start.inputs[0].device.type == "cpu"
    plan = reconfig.plan(Data(), "10-5", example_input=torch.zeros(1, 3, 16, 16))
    assert plan.device == "cpu"
    assert plan.apply(Data())(torch.rand(2, 3, 16, 16)).shape == (2, 2)


def test_an_example_on_meta() -> None:
    assert reconfig.plan(Net(), "10-5", example_input=torch.zeros(1, 3, 16, 16, device="meta")).params > 0


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (
            torch.zeros(1, 4, 16, 16),
            r"Net does not run on the example input \(2, 4, 16, 16\) of float32: .*takes 3 channels",
        ),
        (torch.zeros(3), r"pass example_input=torch.zeros\(1, 3, size, size, dtype=torch.float32\)"),
        (torch.zeros(2, 3), r"Net does not run on the example input \(2, 3\) of float32"),
        (torch.zeros(1, 3, 2, 2), r"Net does not run on the example input"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.float64), r"of float64: .*channels of float32"),
        ([torch.zeros(1, 3, 16, 16)], r"must be a tensor or a tuple of tensors, but item 0 is list"),
        ((torch.zeros(1, 3, 16, 16), 2), r"item 1 is int"),
        ("image", r"item 0 is str: pass e.g. torch.zeros\(1, 3, 32, 32\)"),
        ((), r"is an empty tuple: pass one tensor for each argument"),
        ((torch.zeros(1, 3, 16, 16), torch.zeros(1)), r"Net does not run on .*takes 2 positional arguments but 3"),
    ],
)
def test_examples_that_do_not_fit(example: object, message: str) -> None:
    with pytest.raises(reconfig.InputError, match=message):
        reconfig.plan(Net(), "10-5", example_input=example)  # type: ignore[arg-type]


def test_an_example_on_another_device() -> None:
    model = Net().to("meta")
    with pytest.raises(reconfig.InputError, match=r"is on cpu and the model on meta: pass example_input.to\('meta'\)"):
        reconfig.plan(model, "10-5", example_input=torch.zeros(1, 3, 16, 16))


def test_no_usual_size_works() -> None:
    class Odd(Net):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[-1] == 50, "images are 50 wide"
            return super().forward(x)

    with pytest.raises(
        reconfig.InputError, match=r"no usual input size works for Odd .*example_input=.*images are 50 wide"
    ):
        reconfig.plan(Odd(), "10-5")
    assert reconfig.plan(Odd(), "10-5", example_input=torch.zeros(1, 3, 50, 50)).params
