"""transformers' own trainer, Auto classes and folders, with variants of its networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import reconfig
from reconfig.errors import ModelError, PlanError, RuleError

transformers = pytest.importorskip("transformers")
variants = pytest.importorskip("reconfig.plugins.transformers")

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),  # of transformers and its loaders: pinned memory
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
SIZE = 64


def config(**options: Any) -> Any:
    chosen = {"embedding_size": 8, "hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 1, 1], "num_labels": 4}
    return transformers.ResNetConfig(**{**chosen, **options})


def images() -> Tensor:
    return torch.rand(2, 3, SIZE, SIZE)


def same(left: nn.Module, right: nn.Module) -> bool:
    a, b = left.state_dict(), right.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Images(Dataset[Any]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        generator = torch.Generator().manual_seed(index)
        return {"pixel_values": torch.rand(3, SIZE, SIZE, generator=generator), "labels": index % 4}


def trainer(folder: Path, **options: Any) -> Any:
    chosen = {"max_steps": 2, "save_steps": 2, "lr_scheduler_type": "constant", **options}
    arguments = transformers.TrainingArguments(
        str(folder),
        use_cpu=True,
        report_to=[],
        per_device_train_batch_size=4,
        disable_tqdm=True,
        seed=3,
        dataloader_pin_memory=False,
        **chosen,
    )
    init = variants.model_init(
        lambda: transformers.AutoModelForImageClassification.from_config(config()), "10-10-4", gamma=1.5
    )
    return transformers.Trainer(model_init=init, args=arguments, train_dataset=Images())


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_a_variant_is_what_apply_makes(kind: str) -> None:
    made = variants.from_config(config(layer_type=kind), "10-10-5", gamma=1.5)
    original = transformers.ResNetForImageClassification(config(layer_type=kind))
    expected = reconfig.apply(original, "10-10-5", gamma=1.5)
    assert type(made) is transformers.ResNetForImageClassification
    assert [p.shape for p in made.parameters()] == [p.shape for p in expected.parameters()]
    assert made.config.hidden_sizes == [24, 48, 96, 96]
    assert made(images(), labels=torch.tensor([0, 1])).loss.requires_grad


def test_trainer_trains_saves_and_resumes(tmp_path: Path) -> None:
    first = trainer(tmp_path)
    first.train()
    folder = tmp_path / "checkpoint-2"
    saved = variants.from_pretrained(folder)
    assert type(saved) is transformers.ResNetForImageClassification
    assert same(saved, first.model)
    more = trainer(tmp_path, max_steps=4)
    more.train(resume_from_checkpoint=str(folder))
    assert more.state.global_step == 4
    straight = trainer(tmp_path / "straight", max_steps=4, save_steps=4)
    straight.train()
    left, right = straight.model.state_dict(), more.model.state_dict()
    assert all(torch.allclose(left[name], right[name], atol=1e-6) for name in left)


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_a_folder_loads_again(kind: str, tmp_path: Path) -> None:
    made = variants.from_config(config(layer_type=kind, num_labels=7), "10-10-4", budget="params").eval()
    made.save_pretrained(tmp_path)
    again, info = variants.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert same(made, again)
    assert {**again.config.to_dict(), "_name_or_path": ""} == made.config.to_dict()
    assert (again.training, again.device.type, again.num_labels) == (False, "cpu", 7)
    x = images()
    assert torch.allclose(again(x).logits, made(x).logits, atol=1e-6)
    again.save_pretrained(tmp_path / "again")
    assert same(made, variants.from_pretrained(tmp_path / "again"))
    assert variants.from_pretrained(tmp_path, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_what_transformers_makes_of_it_alone(tmp_path: Path) -> None:
    """Its configuration has one number for the widths of a stage: enough for basic blocks, an error for others."""
    auto = transformers.AutoModelForImageClassification
    made = variants.from_config(config(layer_type="basic"))
    made.save_pretrained(tmp_path / "basic")
    assert same(made, auto.from_pretrained(tmp_path / "basic"))
    variants.from_config(config(layer_type="bottleneck")).save_pretrained(tmp_path / "bottleneck")
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        auto.from_pretrained(tmp_path / "bottleneck")


def test_weights_of_the_original_are_inherited(tmp_path: Path) -> None:
    original = transformers.ResNetForImageClassification(config(layer_type="basic")).eval()
    original.save_pretrained(tmp_path)
    x = images()
    wider = variants.from_pretrained(tmp_path, "10-10", gamma=2).eval()
    assert wider.config.hidden_sizes == [32, 64, 128, 256]
    torch.testing.assert_close(wider(x).logits, original(x).logits, rtol=1e-3, atol=1e-3)
    fresh = variants.from_pretrained(tmp_path, weights="fresh", num_labels=9, ignore_mismatched_sizes=True)
    assert fresh.num_labels == 9
    stem = "resnet.embedder.embedder.convolution.weight"
    assert not torch.equal(fresh.state_dict()[stem], original.state_dict()[stem])
    assert torch.equal(variants.from_pretrained(tmp_path).state_dict()[stem], original.state_dict()[stem])


def test_a_backbone(tmp_path: Path) -> None:
    stages = [f"stage{number}" for number in range(1, 5)]
    auto = transformers.AutoBackbone
    made = variants.from_config(config(out_features=stages), "10-10-4", auto=auto, outputs="scale", gamma=2)
    maps = [found.shape[1] for found in made(images()).feature_maps]
    assert maps == made.channels == made.config.hidden_sizes == [32, 64, 128, 102]
    made.save_pretrained(tmp_path)
    again = variants.from_pretrained(tmp_path)
    assert same(made, again)
    assert again.channels == maps


def test_networks_of_timm_through_their_wrapper() -> None:
    pytest.importorskip("timm")
    import reconfig.plugins.timm as names

    assert names.SUFFIX == "_r"
    wrapped = transformers.TimmWrapperConfig.from_dict(
        {"architecture": "resnet18_r", "model_args": {"rule": "10-10-4", "gamma": 0.25}, "num_classes": 4}
    )
    made = transformers.TimmWrapperForImageClassification(wrapped)
    assert made.timm_model.num_features == 51
    assert made(images(), labels=torch.tensor([0, 1])).loss.requires_grad


def test_a_trial_reaches_the_factory() -> None:
    init = variants.model_init(lambda trial: transformers.ResNetForImageClassification(config(num_labels=trial)))
    assert init(5).num_labels == 5


def test_bad_input_is_named(tmp_path: Path) -> None:
    made = variants.from_config(config())
    made.save_pretrained(tmp_path)
    with pytest.raises(
        PlanError, match=r"holds a variant with its plan, so it takes no rule, gamma: write from_pretrai"
    ):
        variants.from_pretrained(tmp_path, "10-10-4", gamma=2)
    with pytest.raises(ModelError, match=r"what reconfigured was given is a variant already, .*: pass the original"):
        variants.reconfigured(made)
    with pytest.raises(ModelError, match=r"its configuration holds a plan: variants.from_pretrained\(folder\) loads"):
        variants.from_config(made.config)
    with pytest.raises(
        ModelError, match=r"takes a network of transformers, not Conv2d: .* write reconfig.apply\(model"
    ):
        variants.reconfigured(nn.Conv2d(3, 8, 3))
    with pytest.raises(TypeError, match=r"model_init takes no 'gama': write gamma=\.\.\."):
        variants.model_init(lambda: made, gama=2)
    with pytest.raises(
        TypeError, match=r"takes a function that makes the original, not ResNetFor.*: write model_init\("
    ):
        variants.model_init(made)
    with pytest.raises(TypeError, match="takes nothing or a trial, and this one takes 2 arguments"):
        variants.model_init(lambda a, b: made)
    with pytest.raises(RuleError, match="a rule reads like"):
        variants.model_init(lambda: made, "ten")
    kept = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**kept, "architectures": ["MyNet"]}))
    with pytest.raises(PlanError, match="holds a MyNet, which is no class of transformers"):
        variants.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**kept, "num_labels": 4, "depths": [1, 1, 1, 2]}))
    with pytest.raises(PlanError, match="this plan was made for another architecture"):
        variants.from_pretrained(tmp_path)
