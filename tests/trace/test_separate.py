"""Nothing that a result reaches belongs to the caller's model, or it is refused by name before anything runs."""

from __future__ import annotations

import re
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import entangled
import pytest
import torch
import torch.nn.functional as F
from entangled import CASES, IMAGE, REFUSED, Small
from reaching import belongs_to, fingerprint
from torch import Tensor, nn

import reconfig
from reconfig import ModelError, zoo
from reconfig.trace.example import probe
from reconfig.trace.skeleton import make_skeleton

# -- the promise -------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    entangled.forget()


@pytest.mark.parametrize("name", CASES)
def test_what_can_be_separated_is(name: str) -> None:
    model = CASES[name]()
    before = fingerprint(model)
    assert belongs_to(probe(model, IMAGE).skeleton, model) == []
    plan = reconfig.plan(model, "5-5", example_input=IMAGE, strict=name != "parameter_in_a_closure")
    result = plan.apply(model)
    assert fingerprint(model) == before
    assert result.conv.weight.shape == (8, 3, 3, 3)
    assert belongs_to(result, model) == []

    weight, batches = result.norm.weight, int(result.norm.num_batches_tracked)
    result.train()(IMAGE).float().sum().backward()
    assert weight.grad is not None
    assert result.norm.num_batches_tracked > batches
    assert fingerprint(model) == before


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("call", [reconfig.plan, reconfig.apply, reconfig.stages], ids=lambda call: call.__name__)
def test_what_cannot_is_refused_by_name_before_anything_runs(name: str, call: Callable[..., object]) -> None:
    make, message = REFUSED[name]
    model = make()
    before, Small.runs = fingerprint(model), 0
    with pytest.raises(ModelError, match=message):
        call(model, example_input=IMAGE)
    assert Small.runs == 0
    assert fingerprint(model) == before


def test_a_plan_made_before_does_not_let_it_through() -> None:
    plan = reconfig.plan(Small(), "5-5", example_input=IMAGE)
    for make, message in REFUSED.values():
        model = make()
        if dict(plan.before).keys() == model.state_dict().keys():
            with pytest.raises(ModelError, match=message):
                plan.apply(model)


def test_a_result_is_not_compiled_and_can_be() -> None:
    result = reconfig.apply(CASES["compiled_in_place"](), "5-5", example_input=IMAGE)
    assert result._compiled_call_impl is None
    expected = result.eval()(IMAGE)
    result.compile(backend="eager")
    torch.testing.assert_close(result(IMAGE), expected)


def test_sharing_inside_the_model_is_kept() -> None:
    model = Small()
    kept = [model.conv]

    def first() -> nn.Module:
        return kept[0]

    model.kept, model.first, model.again = kept, first, {"first": first}
    copied = make_skeleton(model)
    assert copied.first is copied.again["first"]
    assert copied.first() is copied.kept[0] is copied.conv
    kept.clear()
    assert copied.first() is copied.conv


def test_blocks_that_are_repeated_call_themselves() -> None:
    class Block(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.network = [network]
            self.forward = lambda x: x + self.norm(self.conv(network.act(x)))

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.act = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()
            self.blocks = nn.Sequential(Block(self), Block(self))
            self.down, self.last = nn.Conv2d(4, 4, 3, 2, 1), nn.Sequential(Block(self), Block(self))
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.last(self.down(self.blocks(self.stem(x)))).mean((2, 3)))

    result = reconfig.apply(Deep(), "d4-2", example_input=IMAGE)
    assert len(result.blocks) == 4
    assert all(block.network[0] is result for block in result.blocks)
    result(IMAGE)
    assert [int(block.norm.num_batches_tracked) for block in result.blocks] == [1, 1, 1, 1]


def test_what_reaches_nothing_of_the_model_is_shared() -> None:
    seen: list[str] = []
    model = Small()
    model.note = lambda text: seen.append(text)
    model.act = F.relu
    assert make_skeleton(model).note is model.note
    assert make_skeleton(model).act is F.relu


def test_a_result_keeps_nothing_of_the_runs_that_verified_it() -> None:
    class Keeps(Small):
        def __init__(self) -> None:
            super().__init__()
            self.kept: list[Tensor] = []

        def features(self, x: Tensor) -> Tensor:
            self.kept.append(super().features(x))
            return self.kept[-1]

    assert reconfig.apply(Keeps(), "5-5", example_input=IMAGE).kept == []


def test_values_of_cached_properties_follow_the_weights() -> None:
    model = CASES["cached_method_and_property"]()
    result = reconfig.apply(model, "5-5", example_input=IMAGE)
    assert "spread" not in vars(result)
    result(IMAGE)
    torch.testing.assert_close(result.spread, result.conv.weight.detach().flatten(1).std(1)[:, None, None])
    assert result.spread.shape == (8, 1, 1)


def test_the_check_sees_what_is_shared() -> None:
    model, other = Small(), Small()
    for name, value in {
        "a module": [model.norm],
        "a parameter": {"weight": model.conv.weight},
        "a buffer": (model.norm.running_mean,),
        "a view": model.conv.weight.detach()[0],
        "a method": model.forward,
        "a closure": lambda: model,
        "a weak reference": weakref.ref(model.norm),
    }.items():
        other.thing = value
        assert belongs_to(other, model), name
    other.thing = None
    assert belongs_to(other, model) == []
    before = fingerprint(model)
    model(IMAGE)
    assert fingerprint(model) != before


@pytest.mark.parametrize("name", ["vgg11", "preactresnet18", "darts"])
def test_networks_of_papers(name: str) -> None:
    model = getattr(zoo, name)()
    before = fingerprint(model)
    assert belongs_to(reconfig.apply(model, "10-10-4"), model) == []
    assert fingerprint(model) == before


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "efficientnet_b0", "densenet121", "regnety_002"])
def test_networks_of_timm(name: str) -> None:
    model = pytest.importorskip("timm").create_model(name)
    before = fingerprint(model)
    assert belongs_to(reconfig.apply(model, "10-10-4"), model) == []
    assert fingerprint(model) == before


# -- TorchScript -------------------------------------------------------------------------------------------------------


def scripted_block() -> nn.Module:
    class Block(torch.jit.ScriptModule):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        @torch.jit.script_method
        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.conv(x)

    return Block()


@pytest.mark.parametrize(
    "make", [scripted_block, lambda: torch.jit.script(nn.Conv2d(3, 3, 1))], ids=["class", "script"]
)
@pytest.mark.parametrize("path", ["", "trunk.0"])
@pytest.mark.filterwarnings("ignore:.torch.jit.*:FutureWarning", "ignore:.torch.jit.*:DeprecationWarning")
def test_torchscript_is_refused_by_name_on_every_way_in(make: entangled.Maker, path: str, tmp_path: Any) -> None:
    plan = reconfig.plan(Small(), "5-5", example_input=IMAGE)
    reconfig.save(Small(), tmp_path / "small.safetensors")
    with warnings.catch_warnings(action="ignore"):
        model = make()
    if path:
        inside, model = model, Small()
        model.trunk = nn.Sequential(inside)
    where = f"module {path!r}" if path else "model"
    message = re.escape(f"{where} is a TorchScript module, whose layers cannot be seen or resized: make it without")
    for call in (
        lambda: reconfig.plan(model, example_input=IMAGE),
        lambda: reconfig.apply(model, example_input=IMAGE),
        lambda: reconfig.stages(model, IMAGE),
        lambda: plan.apply(model),
        lambda: reconfig.save(model, tmp_path / "a.safetensors"),
        lambda: reconfig.load(tmp_path / "small.safetensors", lambda: model),
    ):
        with pytest.raises(ModelError, match=message):
            call()
