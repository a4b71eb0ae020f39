"""torchvision's own ways of making a network and of building on it, with the names that the plug-in registers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import reconfig

torchvision = pytest.importorskip("torchvision")
plugin = pytest.importorskip("reconfig.plugins.torchvision")
models = torchvision.models

SIZE = 64


def test_every_name_has_a_variant() -> None:
    names = set(models.list_models())
    assert {"resnet18_r", "vgg11_bn_r", "convnext_tiny_r", "deeplabv3_resnet50_r"} <= names
    assert "resnet18_r" in models.list_models(module=models, include="*_r")
    assert "fasterrcnn_resnet50_fpn_r" not in names
    assert models.get_model_weights("resnet18_r") is models.get_model_weights("resnet18")
    plugin.register()  # again changes nothing
    assert set(models.list_models()) == names


def test_a_variant_is_what_apply_makes() -> None:
    made = models.get_model("resnet18_r", rule="10-10-5", gamma=1.5, num_classes=10)
    expected = reconfig.apply(models.resnet18(num_classes=10), "10-10-5", gamma=1.5)
    assert type(made) is models.ResNet
    assert [p.shape for p in made.parameters()] == [p.shape for p in expected.parameters()]
    budget = models.get_model("resnet18_r", budget="params")
    assert sum(p.numel() for p in budget.parameters()) == pytest.approx(11_689_512, rel=1e-3)


def test_weights_are_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From torch's cache, where torchvision looks for the file before it asks the network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    trained = models.resnet18()
    url = models.ResNet18_Weights.DEFAULT.url
    file = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.save(trained.state_dict(), file)
    made = models.get_model("resnet18_r", weights="DEFAULT")
    assert torch.equal(made.layer3[1].conv2.weight, trained.layer3[1].conv2.weight)
    kept = {tuple(row.flatten().tolist()) for row in trained.layer4[0].conv1.weight}
    assert all(tuple(row.flatten().tolist()) in kept for row in made.layer4[0].conv1.weight)


def test_a_segmentation_network_keeps_its_classes() -> None:
    made = models.get_model("lraspp_mobilenet_v3_large_r", weights_backbone=None, num_classes=5, strict=False)
    assert made.eval()(torch.zeros(1, 3, SIZE, SIZE))["out"].shape == (1, 5, SIZE, SIZE)


@pytest.mark.parametrize("returned", [None, [2, 4]])
def test_a_detector_trains_on_a_narrow_last_stage(returned: list[int] | None) -> None:
    backbone = models.get_model("resnet18_r", norm_layer=torchvision.ops.FrozenBatchNorm2d)
    pyramid = plugin.resnet_fpn_extractor(backbone.train(), 3, returned)
    assert pyramid.training
    maps = pyramid(torch.zeros(1, 3, SIZE, SIZE))
    assert [found.shape[1] for found in maps.values()] == [256] * (5 if returned is None else 3)
    frozen = {name.partition(".")[0] for name, p in pyramid.body.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "layer1"}
    if returned is None:
        detector = torchvision.models.detection.FasterRCNN(pyramid, num_classes=3, min_size=SIZE, max_size=SIZE)
        target = {"boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
        losses = detector.train()([torch.rand(3, SIZE, SIZE)], [target])
        sum(losses.values()).backward()
        assert backbone.layer4[1].conv2.weight.grad is not None


def test_the_pyramid_is_torchvisions_where_its_own_works() -> None:
    own = models.detection.backbone_utils._resnet_fpn_extractor(models.resnet18(), 5)
    ours = plugin.resnet_fpn_extractor(models.resnet18(), 5)
    assert {n: (p.shape, p.requires_grad) for n, p in own.named_parameters()} == {
        n: (p.shape, p.requires_grad) for n, p in ours.named_parameters()
    }


def test_bad_layers_are_named() -> None:
    network: nn.Module = models.resnet18()
    with pytest.raises(ValueError, match="trainable_layers is 6: a ResNet has 0 to 5"):
        plugin.resnet_fpn_extractor(network, 6)
    with pytest.raises(ValueError, match=r"returned_layers is \[0, 1\]"):
        plugin.resnet_fpn_extractor(network, 3, [0, 1])
