"""mmengine's own runner on a configuration that imports the plug-in: an epoch, resume, reload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import reconfig
from reconfig.errors import InputError, ModelError, RuleError

pytest.importorskip("mmengine")
from mmengine.config import Config
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import MODELS
from mmengine.runner import Runner

plugin = pytest.importorskip("reconfig.plugins.mmengine")
pytestmark = pytest.mark.filterwarnings("ignore")  # mmengine warns of what later torches call by other names

SIZE = 32


@MODELS.register_module()
class TinyBackbone(BaseModule):
    def __init__(self, init_cfg: Any = None) -> None:
        super().__init__(init_cfg)
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 20, 3, 2, padding=1), nn.BatchNorm2d(20), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


@MODELS.register_module()
class TinyClassifier(BaseModel):
    def __init__(self, backbone: Any, classes: int = 4, init_cfg: Any = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(20, classes)

    def forward(self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor") -> Any:
        scores = self.head(self.backbone(inputs).mean((2, 3)))
        return {"loss": nn.functional.cross_entropy(scores, data_samples)} if mode == "loss" else scores


@MODELS.register_module()
class NeedsLabels(BaseModel):
    """As the first example in mmengine's documentation."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(TinyBackbone(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 4))

    def forward(self, imgs: Tensor, labels: Tensor, mode: str) -> Any:
        x = self.net(imgs)
        return {"loss": nn.functional.cross_entropy(x, labels)} if mode == "loss" else x


CLASSIFIER = {"type": "TinyClassifier", "backbone": {"type": "TinyBackbone"}}


def config(tmp_path: Path, model: str, epochs: int = 1, **more: Any) -> Config:
    """As a file of a user's says it."""
    file = tmp_path / "config.py"
    file.write_text(
        f"""
custom_imports = dict(imports=["reconfig.plugins.mmengine"])
model = {model}
work_dir = {str(tmp_path / "work")!r}
train_cfg = dict(by_epoch=True, max_epochs={epochs})
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9))
train_dataloader = dict(batch_size=2, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="Tiny"), collate_fn=dict(type="default_collate"))
default_scope = "mmengine"
log_level = "ERROR"
randomness = dict(seed=3)
"""
    )
    found = Config.fromfile(file)
    found.merge_from_dict(more)
    return found


def run(found: Config, name: str) -> Any:
    from mmengine.registry import DATASETS

    if "Tiny" not in DATASETS:
        images, labels = torch.rand(4, 3, SIZE, SIZE), torch.tensor([0, 1, 2, 3])
        DATASETS.register_module(name="Tiny", module=lambda: TensorDataset(images, labels))
    found.experiment_name = name
    runner = Runner.from_cfg(found)
    runner.train()
    return runner


def test_the_runner_trains_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = torch.load  # mmengine leaves it to torch, whose later ones then refuse the history that it keeps
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: load(*args, **{"weights_only": False, **kwargs}))
    text = f"dict(type='Reconfigured', model={CLASSIFIER}, rule='10-4', gamma=1.5)"
    first = run(config(tmp_path, text), "first")
    made = first.model
    assert type(made) is TinyClassifier
    assert made.head.in_features == 12
    held = {id(p) for group in first.optim_wrapper.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in made.parameters()}
    more = run(config(tmp_path, text, epochs=2, resume=True), "more")
    assert (more.epoch, more.model.head.in_features) == (2, 12)
    again = MODELS.build(config(tmp_path, text).model)
    again.load_state_dict(load(tmp_path / "work" / "epoch_2.pth", weights_only=False)["state_dict"])
    assert torch.equal(again.head.weight, more.model.head.weight)


def test_a_variant_is_what_apply_makes() -> None:
    made = MODELS.build({"type": "Reconfigured", "model": CLASSIFIER, "rule": "10-5", "budget": "params"})
    expected = reconfig.apply(MODELS.build(CLASSIFIER), "10-5", budget="params")
    assert [p.shape for p in made.parameters()] == [p.shape for p in expected.parameters()]


def test_a_network_in_a_model_that_needs_labels(tmp_path: Path) -> None:
    text = "dict(type='Reconfigured', model=dict(type='NeedsLabels'), rule='10-4', networks='net')"
    made = run(config(tmp_path, text), "labels").model
    assert made.net[3].in_features == 8
    with pytest.raises(InputError, match=r"needs more than images, name the network in it: networks='net', or"):
        MODELS.build({"type": "Reconfigured", "model": {"type": "NeedsLabels"}})


def test_pretrained_weights_are_inherited(tmp_path: Path) -> None:
    original = MODELS.build(CLASSIFIER)
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    pretrained = {**CLASSIFIER, "init_cfg": {"type": "Pretrained", "checkpoint": str(tmp_path / "weights.pth")}}
    made = MODELS.build({"type": "Reconfigured", "model": pretrained, "rule": "10-4"})
    assert torch.equal(made.backbone.first[0].weight, original.backbone.first[0].weight)
    kept = {tuple(row.flatten().tolist()) for row in original.backbone.second[0].weight}
    assert all(tuple(row.flatten().tolist()) in kept for row in made.backbone.second[0].weight)
    before = made.head.weight.clone()
    made.init_weights()  # as the runner calls it
    assert torch.equal(made.head.weight, before)
    with pytest.raises(
        ModelError, match=r"init_cfg of TinyClassifier loads weights of the original, .*: leave out weigh"
    ):
        MODELS.build({"type": "Reconfigured", "model": pretrained, "weights": "fresh"})


def test_fresh_weights_are_the_models_own() -> None:
    backbone = {"type": "TinyBackbone", "init_cfg": {"type": "Constant", "layer": "Conv2d", "val": 0.5}}
    made = MODELS.build({"type": "Reconfigured", "model": {**CLASSIFIER, "backbone": backbone}})
    made.init_weights()
    assert bool((made.backbone.second[0].weight == 0.5).all())


def test_bad_input_is_named() -> None:
    with pytest.raises(
        ModelError, match=r"needs the original as model, and this is None: write dict\(type='Reconfigure"
    ):
        MODELS.build({"type": "Reconfigured", "rule": "10-4"})
    with pytest.raises(TypeError, match=r"Reconfigured takes no 'gama': write gamma=\.\.\."):
        MODELS.build({"type": "Reconfigured", "model": CLASSIFIER, "gama": 2})
    with pytest.raises(ModelError, match=r"has no 'backbon' .*: write Reconfigured\(networks=\['backbone'\]\)"):
        MODELS.build({"type": "Reconfigured", "model": CLASSIFIER, "networks": "backbon"})
    with pytest.raises(RuleError, match="a rule reads like"):
        MODELS.build({"type": "Reconfigured", "model": CLASSIFIER, "rule": "ten"})
