"""What networks publish about their widths is what hooks see, before and after, in every library that is known."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import reconfig
from benchmarks.judging.publishing import judge_published
from reconfig import PlanError

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")
features = pytest.importorskip("timm.models._features")

NETWORKS = ("resnet18", "convnext_zepto_rms", "regnetx_002", "mobilenetv3_small_050", "ghostnet_050", "mambaout_femto")
SIZE = 64


def images(size: int = SIZE) -> Tensor:
    return torch.rand(2, 3, size, size)


def rewritten(model: nn.Module, **options: Any) -> Any:
    """The -R network, by way of JSON."""
    plan = reconfig.plan(model, example_input=images(), **options)
    assert reconfig.Plan.from_json(plan.to_json()) == plan
    return reconfig.Plan.from_json(plan.to_json()).apply(model)


@pytest.mark.parametrize("gamma", [1.0, 1.5])
@pytest.mark.parametrize("name", NETWORKS)
def test_timm_says_what_hooks_see(name: str, gamma: float) -> None:
    model = timm.create_model(name)
    result = rewritten(model, gamma=gamma)
    last = model.feature_info[-1]["num_chs"], result.feature_info[-1]["num_chs"]
    assert last[0] != last[1]
    assert result.num_features != model.num_features
    assert result.pretrained_cfg == model.pretrained_cfg
    assert judge_published(result, images()).problems == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["densenet121", "efficientnet_b0", "vgg11", "hgnetv2_b0", "inception_next_atto", "dpn48b"]
)
def test_larger_networks_of_timm_say_what_hooks_see(name: str) -> None:
    assert judge_published(rewritten(timm.create_model(name), gamma=1.5), images(224)).problems == ()


def test_an_encoder_that_somebody_made_of_a_network() -> None:
    """Its classifier taken off, and with it what ``get_classifier`` returns."""

    class Encoder(type(timm.create_model("resnet18"))):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            return self.forward_features(x)

    model = timm.create_model("resnet18")
    model.__class__ = Encoder
    del model.fc
    result = rewritten(model, outputs="scale")
    assert result.num_features == result(images()).shape[1] == 205


def test_the_judge_sees_a_wrong_number() -> None:
    model = rewritten(timm.create_model("resnet18"))
    model.feature_info[4]["num_chs"] = model.num_features = 512
    problems = "; ".join(judge_published(model, images()).problems)
    assert "layer4 says 512 and gives [205]" in problems
    assert "num_features says 512" in problems
    assert "new_classifier: RuntimeError" in problems


def test_the_callers_numbers_stay() -> None:
    model = timm.create_model("resnet18")
    rewritten(model)
    assert [entry["num_chs"] for entry in model.feature_info] == [64, 64, 128, 256, 512]
    assert (model.num_features, model.head_hidden_size) == (512, 512)


@pytest.mark.parametrize("name", ["FeatureListNet", "FeatureDictNet", "FeatureHookNet", "FeatureGetterNet"])
def test_features_of_a_rewritten_network(name: str) -> None:
    wrapped = getattr(features, name)(rewritten(timm.create_model("resnet18")), out_indices=(1, 2, 4)).eval()
    assert channels(wrapped(images())) == wrapped.feature_info.channels() == [64, 128, 205]


@pytest.mark.parametrize("name", ["FeatureListNet", "FeatureDictNet", "FeatureHookNet", "FeatureGetterNet"])
def test_a_rewritten_network_of_features(name: str) -> None:
    wrapped = getattr(features, name)(timm.create_model("resnet18"), out_indices=(1, 2, 4)).eval()
    result = rewritten(wrapped, outputs="scale")
    assert channels(result(images())) == result.feature_info.channels() == [64, 128, 205]
    assert channels(wrapped(images())) == wrapped.feature_info.channels() == [64, 128, 512]


def channels(maps: Any) -> list[int]:
    return [item.shape[1] for item in (maps.values() if isinstance(maps, dict) else maps)]


@pytest.mark.parametrize(("name", "location"), [("efficientnet_b0", "expansion"), ("efficientnet_b0", "bottleneck")])
def test_features_taken_by_hooks_of_the_networks_own(name: str, location: str) -> None:
    model = timm.create_model(name, features_only=True, feature_location=location).eval()
    result = rewritten(model, outputs="scale")
    assert channels(result(images())) == result.feature_info.channels()
    assert result.feature_info.channels()[-1] < model.feature_info.channels()[-1]


def test_a_concat_that_lost_layers() -> None:
    result = rewritten(timm.create_model("densenet121"), rule="d6-12-24-10 w10-10-10-4")
    assert judge_published(result, images()).problems == ()
    assert result.num_features < 1024


def test_a_resnet_of_torchvision() -> None:
    model = torchvision.models.resnet18()
    result = rewritten(model)
    assert (model.inplanes, result.inplanes) == (512, 205)
    getter = torchvision.models._utils.IntermediateLayerGetter(result, {"layer3": "0", "layer4": "1"})
    assert channels(getter(images())) == [256, 205]
    extractor = torchvision.models.feature_extraction.create_feature_extractor(result, ["layer2", "layer4"])
    assert channels(extractor(images())) == [128, 205]


def test_the_pyramid_of_torchvision_where_stages_still_double() -> None:
    result = rewritten(torchvision.models.resnet18(), rule="10-10-10-10", gamma=1.5)
    pyramid = torchvision.models.detection.backbone_utils._resnet_fpn_extractor(result, 3)
    assert channels(pyramid(images())) == [256] * 5


def test_a_backbone_that_somebody_gave_its_width() -> None:
    backbone = torchvision.models.mobilenet_v2().features
    backbone.out_channels = 1280
    result = rewritten(backbone, outputs="scale")
    assert result.out_channels == result(images()).shape[1] == 512
    assert rewritten(backbone).out_channels == 1280


def test_blocks_say_what_they_give() -> None:
    model = torchvision.models.mobilenet_v2()
    result = rewritten(model)
    blocks = [block for block in result.features if hasattr(block, "out_channels")]
    assert len(blocks) > 15
    assert [block.out_channels for block in blocks] == [width(block) for block in blocks]


def width(block: nn.Module) -> int:
    return [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)][-1].out_channels


class Encoder(nn.Module):
    """As segmentation_models_pytorch writes them: the image is the first of its features."""

    def __init__(self, numbers: list[int] | tuple[int, ...] = (3, 16, 32, 64)) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(taken, given, 3, 2, 1), nn.BatchNorm2d(given), nn.ReLU())
            for taken, given in ((3, 16), (16, 32), (32, 64))
        )
        self._out_channels = numbers

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [x]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps


@pytest.mark.parametrize("numbers", [(3, 16, 32, 64), [3, 16, 32, 64], (3, 16, 32, 64, 512)])
def test_an_encoder_says_what_its_features_have(numbers: list[int] | tuple[int, ...]) -> None:
    result = rewritten(Encoder(numbers), outputs="scale", gamma=2)
    assert type(result._out_channels) is type(numbers)
    assert list(result._out_channels[:4]) == channels(result(images())) == [3, 32, 64, 51]
    assert list(result._out_channels[4:]) == list(numbers[4:])


class Misleading(nn.Module):
    """Attributes that have the names and the numbers, but not the meaning."""

    def __init__(self, **numbers: Any) -> None:
        super().__init__()
        self.layer4 = nn.Conv2d(3, 32, 3)
        self.last = nn.Conv2d(32, 64, 3)
        self.fc = nn.Linear(64, 10)
        vars(self).update(numbers)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(self.layer4(x).relu()).relu().mean((2, 3)))


@pytest.mark.parametrize(
    "numbers",
    [
        {"num_features": 64},
        {"feature_info": "64 channels"},
        {"feature_info": [{"num_chs": 64, "module": "none.such"}, 64]},
        {"feature_info": SimpleNamespace(info=[{"num_chs": 63, "module": "last"}])},
        {"inplanes": 64},
        {"out_channels": 64},
        {"config": SimpleNamespace(hidden_sizes=[32, 64])},
        {"head_hidden_size": 64},
        {"in_features": 64},
    ],
    ids=lambda numbers: next(iter(numbers)),
)
def test_equal_numbers_alone_are_no_reason(numbers: dict[str, Any]) -> None:
    plan = reconfig.plan(
        Misleading(**numbers), "10-4", gamma=2, example_input=images(), stages={"layer4": 1, "last": 2}
    )
    assert not [edit for edit in plan.attributes if not edit.path]


def test_a_plan_for_another_class_of_the_same_shapes_says_so() -> None:
    plan = reconfig.plan(timm.create_model("resnet18"))
    with pytest.raises(
        PlanError, match=r"another class of the name ResNet: it changes 'feature_info.4.num_chs' of the"
    ):
        plan.apply(torchvision.models.resnet18())


def test_transformers_configuration() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(embedding_size=16, hidden_sizes=[32, 64, 128, 256], depths=[1, 1, 1, 1])
    model = wrapped_outputs(lambda: transformers.ResNetForImageClassification(config))
    result = rewritten(model)
    assert result.inner.config.hidden_sizes == [32, 64, 128, 102]
    assert model.inner.config.hidden_sizes == [32, 64, 128, 256]
    assert result.inner.resnet.config is result.inner.config
    stages = [f"stage{number}" for number in range(1, 5)]
    config = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[32, 64, 128, 256], depths=[1, 1, 1, 1], out_features=stages
    )
    backbone = rewritten(wrapped_outputs(lambda: transformers.ResNetBackbone(config)), outputs="scale", gamma=2).inner
    given = channels(backbone(images()).feature_maps)
    assert given == backbone.channels == backbone.config.hidden_sizes == [64, 128, 256, 205]
    assert backbone.num_features == [16, *given]


def test_encoders_of_segmentation_models() -> None:
    smp = pytest.importorskip("segmentation_models_pytorch")
    encoder = smp.encoders.get_encoder("resnet18", weights=None)
    result = rewritten(encoder, outputs="scale")
    assert channels(result(images())) == list(result.out_channels) == [3, 64, 64, 128, 256, 205]
    network = rewritten(smp.Unet("resnet18", encoder_weights=None)).train()
    assert network.encoder.out_channels[-1] == 205
    network(images()).sum().backward()


def wrapped_outputs(make: Callable[[], nn.Module]) -> Any:
    class Outputs(nn.Module):
        """Tensors alone."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = make()

        def forward(self, x: Tensor) -> Any:
            return tuple(self.inner(x).values())

    return Outputs()
