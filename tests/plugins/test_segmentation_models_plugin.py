"""Networks of segmentation_models_pytorch on variants of its own encoders, and on those of timm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from reconfig.errors import NetworkError, RuleError

smp = pytest.importorskip("segmentation_models_pytorch")
timm = pytest.importorskip("timm")
pytest.importorskip("reconfig.plugins.timm")
plugin = pytest.importorskip("reconfig.plugins.segmentation_models_pytorch")

SIZE = 64
NETWORKS = (
    "Unet",
    "UnetPlusPlus",
    "FPN",
    "PSPNet",
    "DeepLabV3",
    "DeepLabV3Plus",
    "Linknet",
    "MAnet",
    "UPerNet",
    "Segformer",
)


def images() -> Tensor:
    return torch.rand(2, 3, SIZE, SIZE)


def step(network: Any) -> float:
    """The loss before one step of training; the step has to change it."""
    target = (torch.rand(2, 1, SIZE, SIZE) > 0.5).float()
    loss = smp.losses.DiceLoss("binary")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    x = images()
    before = loss(network.train()(x), target)
    before.backward()
    optimizer.step()
    assert loss(network(x), target) != before
    return before.item()


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    known = dict(smp.encoders.encoders)
    yield
    smp.encoders.encoders.clear()
    smp.encoders.encoders.update(known)


@pytest.mark.parametrize("encoder", ["tu-resnet18_r", "resnet18_r"])
@pytest.mark.parametrize("name", ["Unet", *(pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS[1:])])
def test_every_network_trains_a_step(name: str, encoder: str) -> None:
    network = getattr(smp, name)(encoder, encoder_weights=None, classes=1)
    if name == "PSPNet":  # takes the first three stages alone
        assert list(network.encoder.out_channels) == [3, 64, 64, 128]
    else:
        assert list(network.encoder.out_channels) == [3, 64, 64, 128, 256, 205]
    assert step(network) > 0


def test_the_rule_goes_beside_an_encoder_of_timm() -> None:
    network = smp.Unet("tu-resnet18_r", encoder_weights=None, rule="10-10-5", gamma=0.5)
    assert list(network.encoder.out_channels) == [3, 32, 32, 64, 128, 128]


@pytest.mark.parametrize("encoder", ["tu-resnet18_r", "tu-mobilenetv3_small_050_r", "resnet18_r"])
def test_a_dilated_encoder_has_the_widths_of_any(encoder: str) -> None:
    usual = smp.encoders.get_encoder(encoder, weights=None).eval()
    dilated = smp.encoders.get_encoder(encoder, weights=None, output_stride=8).eval()
    maps = dilated(images())
    assert [found.shape[1] for found in maps] == list(usual.out_channels)
    assert [SIZE // found.shape[2] for found in maps] == [1, 2, 4, 8, 8, 8]


def test_names_are_registered_with_a_rule() -> None:
    plugin.register("resnet18", "10-10-5", gamma=0.5, name="resnet18_half")
    assert list(smp.FPN("resnet18_half", encoder_weights=None).encoder.out_channels) == [3, 32, 32, 64, 128, 128]
    encoder = smp.encoders.get_encoder("resnet18_half", weights=None, depth=3, in_channels=1).eval()
    assert [found.shape[1] for found in encoder(torch.rand(1, 1, SIZE, SIZE))] == [1, 32, 32, 64]
    before = set(smp.encoders.encoders)
    plugin.register_all()  # again changes nothing
    assert set(smp.encoders.encoders) == before


def test_weights_of_the_original_are_inherited() -> None:
    """As segmentation_models_pytorch loads what it fetched: a state dict, classifier and all."""
    original = smp.encoders.get_encoder("resnet18", weights=None)
    classifier = {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    made = smp.encoders.get_encoder("resnet18_r", weights=None)
    assert not torch.equal(made.layer3[1].conv2.weight, original.layer3[1].conv2.weight)
    made.load_state_dict({**original.state_dict(), **classifier})
    assert torch.equal(made.layer3[1].conv2.weight, original.layer3[1].conv2.weight)
    kept = {tuple(row.flatten().tolist()) for row in original.layer4[0].conv1.weight}
    assert all(tuple(row.flatten().tolist()) in kept for row in made.layer4[0].conv1.weight)
    again = smp.encoders.get_encoder("resnet18_r", weights=None)
    again.load_state_dict(made.state_dict())  # its own, as a checkpoint has it
    assert all(torch.equal(again.state_dict()[name], value) for name, value in made.state_dict().items())


def test_a_network_loads_what_it_saved() -> None:
    trained, again = (smp.Unet("resnet18_r", encoder_weights=None) for _ in range(2))
    step(trained)
    again.load_state_dict(trained.state_dict())
    x = images()
    assert torch.equal(again.eval()(x), trained.eval()(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg11_bn", "densenet121", "mobilenet_v2", "efficientnet-b0", "timm-efficientnet-b0"])
@pytest.mark.filterwarnings("ignore:.timm-. encoders are deprecated")
def test_encoders_of_all_kinds(name: str) -> None:
    usual = smp.encoders.get_encoder(name, weights=None)
    network = smp.Unet(f"{name}_r", encoder_weights=None, classes=1)
    assert network.encoder.out_channels[-1] == pytest.approx(0.4 * usual.out_channels[-1], rel=0.01)
    assert step(network) > 0


def test_bad_input_is_named() -> None:
    with pytest.raises(NetworkError, match=r"has no encoder 'resnet81': write register\('resnet18', rule\)"):
        plugin.register("resnet81")
    with pytest.raises(
        NetworkError, match=r"import reconfig.plugins.timm, and write smp.Unet\('tu-resnet18_r', rule=\.\."
    ):
        plugin.register("tu-resnet18")
    with pytest.raises(NetworkError, match=r"'resnet34' is an encoder of .*: write name='resnet18_r'"):
        plugin.register("resnet18", name="resnet34")
    with pytest.raises(TypeError, match=r"register takes no 'gama': write gamma=\.\.\."):
        plugin.register("resnet18", gama=2)
    with pytest.raises(RuleError, match="a rule reads like"):
        plugin.register("resnet18", "ten")
