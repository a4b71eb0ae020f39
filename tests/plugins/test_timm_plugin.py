"""timm's own ways of making, loading and changing a network, with the names that the plug-in registers."""

from __future__ import annotations

import warnings
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import reconfig
from reconfig import FrozenError, RuleError

timm = pytest.importorskip("timm")
plugin = pytest.importorskip("reconfig.plugins.timm")
utils = pytest.importorskip("timm.utils")
optim = pytest.importorskip("timm.optim")

SIZE = 64


def images(channels: int = 3) -> Tensor:
    return torch.rand(2, channels, SIZE, SIZE)


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def maps_of(model: Any) -> list[int]:
    with torch.no_grad():
        return [found.shape[1] for found in model.eval()(images())]


def test_every_name_has_a_variant() -> None:
    names = set(timm.list_models())
    variants = set(timm.list_models("*_r"))
    assert len(variants) > 1000
    assert {name + "_r" for name in names - variants} == variants
    assert "resnet50_r.a1_in1k" in timm.list_models("resnet50_r*", pretrained=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plugin.register()  # again changes nothing


def test_a_variant_is_what_apply_makes() -> None:
    made = timm.create_model("resnet18_r", rule="10-10-5", gamma=1.5, num_classes=10)
    assert type(made) is type(timm.create_model("resnet18"))
    expected = reconfig.apply(timm.create_model("resnet18", num_classes=10), "10-10-5", gamma=1.5)
    assert shapes(made) == shapes(expected)
    assert (made.num_classes, made.num_features) == (10, 384)
    assert made.pretrained_cfg["architecture"] == "resnet18_r"
    assert made.default_cfg is made.pretrained_cfg
    assert timm.create_model("resnet18").pretrained_cfg["architecture"] == "resnet18"


@pytest.mark.parametrize("budget", [None, "params", "flops"])
@pytest.mark.parametrize("name", ["resnet18", "xception41", "mobilenetv3_small_050"])  # list, hooks, a class of its own
def test_features_are_those_of_the_whole_network(name: str, budget: str | None) -> None:
    whole = timm.create_model(f"{name}_r", budget=budget)
    found = timm.create_model(f"{name}_r", budget=budget, features_only=True, out_indices=(1, 2, 4))
    expected = [whole.feature_info[index]["num_chs"] for index in (1, 2, 4)]
    assert maps_of(found) == found.feature_info.channels() == expected
    usual = timm.create_model(name, features_only=True, out_indices=(1, 2, 4))
    assert found.feature_info.channels()[-1] != usual.feature_info.channels()[-1]
    assert found.feature_info.reduction() == usual.feature_info.reduction()
    assert "num_classes" not in found.pretrained_cfg


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050"])  # the second's classifier has no such option
def test_dilation_leaves_the_widths(name: str) -> None:
    found = timm.create_model(f"{name}_r", features_only=True, output_stride=8)
    usual = timm.create_model(name, features_only=True, output_stride=8)
    assert found.feature_info.reduction() == usual.feature_info.reduction() == [2, 4, 8, 8, 8]
    assert maps_of(found) == timm.create_model(f"{name}_r", features_only=True).feature_info.channels()
    shapes_of = [[tuple(item.shape[2:]) for item in network.eval()(images())] for network in (found, usual)]
    assert shapes_of[0] == shapes_of[1]


@pytest.mark.parametrize("kind", ["list", "dict", "hook", "getter", "fx"])
def test_any_class_of_features(kind: str) -> None:
    found = timm.create_model("resnet18_r", features_only=True, out_indices=(3, 4), feature_cls=kind).eval()
    usual = timm.create_model("resnet18", features_only=True, out_indices=(3, 4), feature_cls=kind)
    assert type(found).__name__ == type(usual).__name__
    given = found(images())
    assert [item.shape[1] for item in (given.values() if isinstance(given, dict) else given)] == [256, 205]


@pytest.fixture
def weights(tmp_path: Path) -> tuple[nn.Module, Path]:
    """A trained network, and its file."""
    torch.manual_seed(3)
    model = timm.create_model("resnet18").eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    return model, tmp_path / "weights.pth"


def test_pretrained_weights_are_inherited(weights: tuple[nn.Module, Path]) -> None:
    model, file = weights
    overlay = {"file": str(file)}
    wider = timm.create_model("resnet18_r", pretrained=True, pretrained_cfg_overlay=overlay, rule="10-10", gamma=2)
    x = images()
    torch.testing.assert_close(wider.eval()(x), model(x), rtol=1e-3, atol=1e-3)  # copies keep the function
    narrow = timm.create_model("resnet18_r", pretrained=True, pretrained_cfg_overlay=overlay)
    assert torch.equal(narrow.conv1.weight, model.conv1.weight)
    features = timm.create_model("resnet18_r", pretrained=True, pretrained_cfg_overlay=overlay, features_only=True)
    assert torch.equal(features.layer4[1].conv2.weight, narrow.layer4[1].conv2.weight)
    fresh = timm.create_model("resnet18_r", pretrained=True, pretrained_cfg_overlay=overlay, weights="fresh")
    assert not torch.equal(fresh.conv1.weight, model.conv1.weight)


def test_other_images() -> None:
    grey = timm.create_model("resnet18_r", in_chans=1)
    assert grey(images(1)).shape == (2, 1000)


def test_the_pattern_of_timms_training_script(tmp_path: Path) -> None:
    """Made by name with arguments from the command line, averaged, trained, saved, loaded, given another classifier."""
    parser = ArgumentParser()
    parser.add_argument("--model-kwargs", nargs="*", default={}, action=utils.ParseKwargs)
    kwargs = parser.parse_args(["--model-kwargs", "rule=10-10-4", "gamma=0.5"]).model_kwargs
    factory = {"num_classes": 10, "drop_rate": 0.0, "drop_path_rate": None, **kwargs}
    model = timm.create_model("resnet18_r", pretrained=False, in_chans=3, **factory)
    average = utils.ModelEmaV3(model, decay=0.5)
    optimizer = optim.create_optimizer_v2(model, opt="sgd", lr=0.1)
    before = model.conv1.weight.clone()
    nn.functional.cross_entropy(model.train()(images()), torch.tensor([1, 2])).backward()
    optimizer.step()
    average.update(model)
    assert not torch.equal(before, model.conv1.weight)
    saver = utils.CheckpointSaver(model, optimizer, model_ema=average, checkpoint_dir=str(tmp_path), recovery_dir="")
    saver.save_checkpoint(0, metric=1.0)
    (file,) = tmp_path.glob("model_best*")
    again = timm.create_model("resnet18_r", checkpoint_path=str(file), **factory)
    state, averaged = again.state_dict(), average.module.state_dict()  # timm loads the average where there is one
    assert all(torch.equal(state[name], averaged[name]) for name in averaged)
    again.reset_classifier(7)
    assert again.eval()(images()).shape == (2, 7)
    with pytest.raises(RuntimeError, match="size mismatch"):
        timm.create_model("resnet18_r", checkpoint_path=str(file), **factory | {"gamma": 1.0})


def test_what_is_frozen_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "reconfig.plugins.timm"):
        timm.create_model("resnet18_r")
        assert caplog.records[-1].levelname == "INFO"
        assert "512 -> 205" in caplog.text
        timm.create_model("hrnet_w18_small_r", rule="10-10-4")
    assert caplog.records[-1].levelname == "WARNING"
    assert "hrnet_w18_small_r: HighResolutionNet" in caplog.text
    with pytest.raises(FrozenError, match="tied to stage 1"):
        timm.create_model("hrnet_w18_small_r", rule="10-10-4", strict=True)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(RuleError, match="a rule reads like"):
        timm.create_model("resnet18_r", rule="ten")
    with pytest.raises(TypeError, match="gama"):
        timm.create_model("resnet18_r", gama=2)
