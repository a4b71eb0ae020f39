"""Lightning's own trainer on networks that the callback rewrote: a step, resume, reload, under both of its names."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reconfig
from reconfig.errors import ModelError, PlanError, RuleError

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),  # of Lightning: few workers, no logger, no validation
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
SIZE = 32


class Way:
    """One of the two names of Lightning, and the plug-in for it."""

    def __init__(self, library: str, plugin: str) -> None:
        self.pl: Any = pytest.importorskip(library)
        self.Reconfigure: Any = importlib.import_module(plugin).Reconfigure

    def trainer(self, folder: Path, *callbacks: Any, **options: Any) -> Any:
        return self.pl.Trainer(
            callbacks=list(callbacks),
            default_root_dir=folder,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **{"max_epochs": 1, **options},
        )

    def module(self, make: Any, base: type[nn.Module] = nn.Module) -> Any:
        """A LightningModule that trains a classifier, whose parts ``make(self)`` makes."""

        class Classifier(self.pl.LightningModule):  # type: ignore[name-defined]
            def __init__(self, classes: int = 4) -> None:
                super().__init__()
                self.save_hyperparameters()
                make(self, classes)

            def training_step(self, batch: Any, index: int) -> Tensor:
                return nn.functional.cross_entropy(self(batch[0]), batch[1])

            test_step = training_step

            def configure_optimizers(self) -> Any:
                return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

            def forward(self, x: Tensor) -> Tensor:
                return self.model(x)

        return Classifier


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def way(request: pytest.FixtureRequest) -> Way:
    plugin = "reconfig.plugins." + request.param.removesuffix(".pytorch")
    return Way(request.param, plugin)


def network(classes: int = 4) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 20, 3, 2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(20, classes),
    )


def one(module: Any, classes: int) -> None:
    module.model = network(classes)


def two(module: Any, classes: int) -> None:
    module.model, module.teacher = network(classes), network(classes)


def own(module: Any, classes: int) -> None:
    module.first, module.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 20, 3, 2)
    module.head = nn.Linear(20, classes)


def data() -> Any:
    return DataLoader(TensorDataset(torch.rand(4, 3, SIZE, SIZE), torch.tensor([0, 1, 2, 3])), batch_size=2)


def width(module: Any, name: str = "model") -> int:
    return module.get_submodule(name)[3].out_channels


def test_a_network_is_rewritten_before_the_optimizer_sees_it(way: Way, tmp_path: Path) -> None:
    module = way.module(one)()
    callback = way.Reconfigure("10-4")
    trainer = way.trainer(tmp_path, callback)
    trainer.fit(module, data())
    assert isinstance(callback, way.pl.Callback)
    assert width(module) == 8
    assert callback.plans["model"].params == sum(p.numel() for p in module.model.parameters())
    (optimizer,) = trainer.optimizers
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {id(p) for p in module.parameters()}
    fresh = reconfig.apply(network(), "10-4")
    assert [p.shape for p in fresh.parameters()] == [p.shape for p in module.parameters()]


def test_training_goes_on_from_a_checkpoint(way: Way, tmp_path: Path) -> None:
    first = way.module(one)()
    way.trainer(tmp_path, way.Reconfigure("10-4", gamma=1.5)).fit(first, data())
    (file,) = tmp_path.rglob("*.ckpt")
    assert set(torch.load(file, weights_only=True)["callbacks"]["Reconfigure"]["plans"]) == {"model"}
    second, callback = way.module(one)(), way.Reconfigure("10-4", gamma=1.5)
    trainer = way.trainer(tmp_path / "more", callback, max_epochs=2)
    trainer.fit(second, data(), ckpt_path=file)
    assert trainer.current_epoch == 2
    assert trainer.optimizers[0].state[second.model[3].weight]["momentum_buffer"].shape == second.model[3].weight.shape
    assert width(second) == width(first) == 12
    trainer.test(second, data(), verbose=False)  # the same module again, which is rewritten already
    other = way.trainer(tmp_path / "other", way.Reconfigure("10-4", gamma=1.5))
    other.test(second, data(), verbose=False)
    assert width(second) == 12


def test_a_checkpoint_loads_without_a_trainer(way: Way, tmp_path: Path) -> None:
    kind = way.module(one)
    trained = kind(classes=7)
    way.trainer(tmp_path, way.Reconfigure("10-4")).fit(trained, data())
    (file,) = tmp_path.rglob("*.ckpt")
    for callback in (way.Reconfigure("10-4"), way.Reconfigure.from_checkpoint(file)):
        again = callback.load_from_checkpoint(kind, file)
        assert type(again) is kind
        assert again.hparams.classes == 7
        assert all(torch.equal(again.state_dict()[name], value) for name, value in trained.state_dict().items())
    with pytest.raises(RuntimeError, match=r"size mismatch for model.3.weight"):
        kind.load_from_checkpoint(file)


def test_a_callback_out_of_a_checkpoint_resumes(way: Way, tmp_path: Path) -> None:
    first, second = way.module(one)(), way.module(one)()
    way.trainer(tmp_path, way.Reconfigure("10-4", budget="params")).fit(first, data())
    (file,) = tmp_path.rglob("*.ckpt")
    trainer = way.trainer(tmp_path / "more", way.Reconfigure.from_checkpoint(file), max_epochs=2)
    trainer.fit(second, data(), ckpt_path=file)
    assert width(second) == width(first) != 20
    trainer.test(second, data(), ckpt_path=file, verbose=False)


def test_several_networks_by_name(way: Way, tmp_path: Path) -> None:
    module = way.module(two)()
    callbacks = way.Reconfigure("10-4", networks="model"), way.Reconfigure("10-20", networks=["teacher"])
    way.trainer(tmp_path, *callbacks).fit(module, data())
    assert (width(module), width(module, "teacher")) == (8, 40)
    (file,) = tmp_path.rglob("*.ckpt")
    keys = torch.load(file, weights_only=True)["callbacks"]
    assert {"Reconfigure['model']", "Reconfigure['teacher']"} <= set(keys)
    again = way.module(two)()
    both = [way.Reconfigure.from_checkpoint(file, networks=name) for name in ("model", "teacher")]
    way.trainer(tmp_path / "more", *both, max_epochs=2).fit(again, data(), ckpt_path=file)
    assert (width(again), width(again, "teacher")) == (8, 40)


def test_a_network_that_is_held_twice(way: Way, tmp_path: Path) -> None:
    def twice(module: Any, classes: int) -> None:
        module.model = network(classes)
        module.parts = nn.ModuleDict({"same": module.model})

    module = way.module(twice)()
    way.trainer(tmp_path, way.Reconfigure("10-4", networks="model"), fast_dev_run=True).fit(module, data())
    assert module.parts["same"] is module.model


def test_averages_of_weights_are_the_variants(way: Way, tmp_path: Path) -> None:
    callbacks = importlib.import_module(f"{way.pl.__name__}.callbacks")
    if not hasattr(callbacks, "EMAWeightAveraging"):
        pytest.skip("this Lightning has no EMAWeightAveraging")
    averaging = callbacks.EMAWeightAveraging()
    module = way.module(one)()
    way.trainer(tmp_path, way.Reconfigure("10-4"), averaging).fit(module, data())
    assert width(module) == 8


def test_layers_of_the_modules_own(way: Way, tmp_path: Path) -> None:
    class Own(way.module(own)):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.second(self.first(x).relu()).relu().mean((2, 3)))

    module = Own()
    callback = way.Reconfigure("10-4", networks=".", example_input=torch.zeros(1, 3, SIZE, SIZE))
    trainer = way.trainer(tmp_path, callback)
    trainer.fit(module, data())
    assert module.second.out_channels == module.head.in_features == 8
    assert module.trainer is trainer
    (file,) = tmp_path.rglob("*.ckpt")
    again = way.Reconfigure.from_checkpoint(file, networks=".").load_from_checkpoint(Own, file)
    assert torch.equal(again.second.weight, module.second.weight)


def test_another_rule_than_the_checkpoints(way: Way, tmp_path: Path) -> None:
    module = way.module(one)()
    way.trainer(tmp_path, way.Reconfigure("10-4")).fit(module, data())
    (file,) = tmp_path.rglob("*.ckpt")
    with pytest.raises(RuntimeError, match="size mismatch") as raised:
        way.trainer(tmp_path, way.Reconfigure("10-5"), max_epochs=2).fit(way.module(one)(), data(), ckpt_path=file)
    assert raised.value.__notes__ == [
        "the checkpoint was made with Reconfigure('10-4') and not with Reconfigure('10-5'): pass the same arguments, "
        "or Reconfigure.from_checkpoint(path)"
    ]
    with pytest.raises(PlanError, match=r"'model' of this Classifier was rewritten already, by Reconfigure\('10-4'\)"):
        way.trainer(tmp_path, way.Reconfigure("10-5"), fast_dev_run=True).fit(module, data())
    state = torch.load(file, weights_only=True)["callbacks"]["Reconfigure"]
    other = way.Reconfigure("10-5")
    way.trainer(tmp_path, other, fast_dev_run=True).fit(way.module(one)(), data())
    with pytest.raises(PlanError, match=r"made with Reconfigure\('10-4'\) and not with Reconfigure\('10-5'\)"):
        other.load_state_dict(state)


def test_a_checkpoint_of_the_original(way: Way, tmp_path: Path) -> None:
    way.trainer(tmp_path).fit(way.module(one)(), data())
    (file,) = tmp_path.rglob("*.ckpt")
    with pytest.raises(RuntimeError, match="size mismatch") as raised:
        way.trainer(tmp_path, way.Reconfigure("10-4"), max_epochs=2).fit(way.module(one)(), data(), ckpt_path=file)
    assert "the checkpoint holds no plans of this Reconfigure" in raised.value.__notes__[0]
    with pytest.raises(
        PlanError, match=r"holds no plans of Reconfigure; make the callback as it was made for training"
    ):
        way.Reconfigure.from_checkpoint(file)


def test_bad_arguments_are_named(way: Way) -> None:
    with pytest.raises(RuleError, match="a rule reads like"):
        way.Reconfigure("ten")
    with pytest.raises(
        TypeError, match=r"Reconfigure takes no 'gama': write gamma=\.\.\.; it takes a rule, and gamma, b"
    ):
        way.Reconfigure("10-4", gama=2)


@pytest.mark.parametrize(
    ("make", "networks", "message"),
    [
        (
            two,
            None,
            r"has several networks with convolutions: write Reconfigure\(networks=\['model'\]\) for one of mode",
        ),
        (own, None, r"the layers of Classifier are its own: write Reconfigure\(networks=\['.'\]\)"),
        (
            lambda module, _: None,
            None,
            "has no network with convolutions when it is to be rewritten: make it in __init",
        ),
        (one, "modell", r"has no 'modell' \(yet: .*\): write Reconfigure\(networks=\['model'\]\)"),
        (one, "hparams", r"'hparams' of Classifier is a AttributeDict without convolutions: write Reconfigure\(networ"),
    ],
)
def test_networks_that_are_not_there(way: Way, make: Any, networks: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        way.trainer(tmp_path, way.Reconfigure(networks=networks), fast_dev_run=True).fit(way.module(make)(), data())
