"""Networks written with their plan, and read back by their factory."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import reconfig
from reconfig import ExportError, Plan, zoo

safetensors = pytest.importorskip("safetensors")
from safetensors import safe_open  # noqa: E402
from safetensors.torch import save_file  # noqa: E402


def small() -> nn.Module:
    return zoo.wrn(10, 1)


@pytest.fixture
def plan() -> Plan:
    return reconfig.plan(small(), "10-10-4", gamma=2)


@pytest.fixture
def robust(plan: Plan) -> nn.Module:
    model = plan.apply(small())
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean)
    return model.eval()


def altered(path: Path, **changes: object) -> None:
    """Write the file again with other fields in its plan, signed anew."""
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    metadata["plan"] = json.dumps(json.loads(metadata["plan"]) | changes)
    metadata["plan_sha256"] = reconfig.saving._digest(metadata["plan"])
    save_file(tensors, path, metadata)


def test_a_network_comes_back(tmp_path: Path, plan: Plan, robust: nn.Module) -> None:
    path = tmp_path / "robust.safetensors"
    reconfig.save(robust, path, plan)
    again = reconfig.load(path, small)
    assert type(again) is type(robust)
    assert again.state_dict().keys() == robust.state_dict().keys()
    for name, tensor in robust.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    image = torch.rand(2, 3, 32, 32)
    assert torch.equal(again.eval()(image), robust(image))
    again.train()(image).sum().backward()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_metadata_has_plan_and_version(tmp_path: Path, plan: Plan, robust: nn.Module) -> None:
    reconfig.save(robust, tmp_path / "a", plan)
    with safe_open(tmp_path / "a", "pt") as file:
        metadata = file.metadata()
    assert metadata["reconfig"] == reconfig.__version__
    assert Plan.from_json(metadata["plan"]) == plan


def test_depth_comes_back(tmp_path: Path) -> None:
    model = zoo.wrn(16, 1)
    plan = reconfig.plan(model, "d1-2-3 w10-10-4")
    robust = plan.apply(model)
    reconfig.save(robust, str(tmp_path / "a"), plan)
    again = reconfig.load(str(tmp_path / "a"), lambda: zoo.wrn(16, 1))
    assert all(torch.equal(a, b) for a, b in zip(robust.parameters(), again.parameters(), strict=True))


def test_a_network_without_plan_comes_back(tmp_path: Path) -> None:
    model = small().half()
    reconfig.save(model, tmp_path / "a")
    again = reconfig.load(tmp_path / "a", lambda: small().half())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


class Tied(nn.Module):
    """Shared weights, a view as a buffer, and a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.b.weight = self.a.weight
        self.register_buffer("scale", torch.arange(1.0, 10.0)[3:4])
        self.register_buffer("passing", torch.ones(1), persistent=False)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.stem(x).relu(), 2)
        x = self.b(self.a(x).relu()).relu() * self.scale * self.passing
        return self.head(x.mean((2, 3)))


def test_shared_tensors_are_written_once_and_stay_shared(tmp_path: Path) -> None:
    image = torch.rand(2, 3, 16, 16)
    plan = reconfig.plan(Tied(), "10-4", example_input=image)
    robust = plan.apply(Tied())
    assert robust.a.weight.shape != Tied().a.weight.shape
    reconfig.save(robust, tmp_path / "a", plan)
    with safe_open(tmp_path / "a", "pt") as file:
        assert set(file.keys()) == set(robust.state_dict()) - {"b.weight"}
    again = reconfig.load(tmp_path / "a", Tied)
    assert again.a.weight is again.b.weight
    assert torch.equal(again(image), robust(image))


def test_a_network_of_another_plan_is_not_written(tmp_path: Path, plan: Plan) -> None:
    (tmp_path / "a").write_text("kept")
    with pytest.raises(
        ExportError,
        match=r"not what its plan makes: blocks\.0\.layer\.0\.bn1\.bias is \(16,\) in the network and \(32,\) in the"
        r" plan;.* and \d+ more",
    ):
        reconfig.save(small(), tmp_path / "a", plan)
    assert (tmp_path / "a").read_text() == "kept"


class Extra(nn.Conv2d):
    def get_extra_state(self) -> object:
        return {"anything": object()}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({}, r"save takes a network, not dict: reconfig\.save\(model, path, plan\)"),
        (Extra(3, 3, 1), "_extra_state is no tensor but dict, which safetensors cannot hold"),
        (nn.Conv2d(3, 3, 1, device="meta"), "weight has no memory to save"),
    ],
    ids=["no network", "extra state", "meta"],
)
def test_what_cannot_be_written_is_named(model: nn.Module, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        reconfig.save(model, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_plan_as_text_is_refused(tmp_path: Path, plan: Plan, robust: nn.Module) -> None:
    with pytest.raises(ExportError, match=r"plan is str: pass what reconfig\.plan\(model, \.\.\.\) returned"):
        reconfig.save(robust, tmp_path / "a", plan.to_json())  # type: ignore[arg-type]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, plan: Plan, robust: nn.Module) -> None:
    with pytest.raises(ExportError, match=r"cannot write .*nowhere/a: "):
        reconfig.save(robust, tmp_path / "nowhere" / "a", plan)


def test_another_architecture_is_named(tmp_path: Path, plan: Plan, robust: nn.Module) -> None:
    reconfig.save(robust, tmp_path / "a", plan)
    with pytest.raises(
        ExportError, match=r"another architecture .*: fc\.bias is \(10,\) in the plan and \(7,\) in the network; fc\.w"
    ):
        reconfig.load(tmp_path / "a", lambda: zoo.wrn(10, 1, num_classes=7))
    reconfig.save(small(), tmp_path / "b")
    with pytest.raises(
        ExportError,
        match=r"another architecture than the factory makes: fc\.bias is \(F32, \(10,\)\) in the file and \(F32, "
        r"\(7,\)\) in the network; fc\.weight is",
    ):
        reconfig.load(tmp_path / "b", lambda: zoo.wrn(10, 1, num_classes=7))
    with pytest.raises(ExportError, match=r"blocks.0.layer.0.bn1.bias is \(F32, \(16,\)\) in the file and \(F64"):
        reconfig.load(tmp_path / "b", lambda: small().double())


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("wrn", r"factory is 'wrn', not a function that makes one: reconfig\.load\(path, zoo\.wrn34_10\)"),
        (nn.Conv2d(3, 3, 1), "factory is a network, not a function that makes one"),
        (dict, r"factory returned dict, not a network: reconfig\.load\(path, lambda: Net\(\.\.\.\)\)"),
    ],
)
def test_a_factory_that_makes_no_network_is_named(
    factory: object, message: str, tmp_path: Path, plan: Plan, robust: nn.Module
) -> None:
    reconfig.save(robust, tmp_path / "a", plan)
    with pytest.raises(ExportError, match=message):
        reconfig.load(tmp_path / "a", factory)  # type: ignore[arg-type]


def test_an_altered_plan_is_refused(tmp_path: Path, plan: Plan, robust: nn.Module) -> None:
    path = tmp_path / "a"
    reconfig.save(robust, path, plan)
    path.write_bytes(path.read_bytes().replace(b'\\"gamma\\": 2', b'\\"gamma\\": 3'))
    with pytest.raises(ExportError, match=r"the plan in .*a was altered: its checksum does not match"):
        reconfig.load(path, small)
    after = dict(plan.after)
    for changes, message in (
        (
            {"after": after | {"fc.weight": (10, 10**12)}},
            r"altered: fc.weight is \(10, 51\) in the file and \(10, 1000000",
        ),
        ({"after": {}}, "altered: it has no blocks"),
        ({"after": []}, "altered: this is not a plan"),
        ({"params": 3}, "does not fit what the factory makes: the rewritten WideResNet has"),
        ({"attributes": [{"path": "no.such", "name": "x", "old": 1, "new": 2}]}, "it changes 'x' of no.such"),
        ({"weights": "stolen"}, "cannot be applied: KeyError"),
        ({"device": "nowhere"}, "cannot be applied: RuntimeError"),
    ):
        reconfig.save(robust, path, plan)
        altered(path, **changes)
        with pytest.raises(ExportError, match=message):
            reconfig.load(path, small)


def test_without_safetensors_the_extra_is_named(
    tmp_path: Path, plan: Plan, robust: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ExportError, match=r"pip install 'robust-reconfig\[export\]'"):
        reconfig.save(robust, tmp_path / "a", plan)
    with pytest.raises(ExportError, match=r"pip install 'robust-reconfig\[export\]'"):
        reconfig.load(tmp_path / "a", small)
