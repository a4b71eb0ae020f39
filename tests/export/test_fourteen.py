"""The paper's four networks and ten families of timm's: as code without reconfig to the bit, as ONNX to 1e-4."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from outside import packages, run_outside
from torch import Tensor, nn

import reconfig
from reconfig import networks
from reconfig.export import to_code, to_onnx, to_torch_export

PAPER = {"zoo:vgg11": 0.25, "zoo:densenet121": 0.5, "zoo:darts": 0.25, "zoo:wrn34_10": 0.1}
TIMM = (
    "resnet18 convnext_atto efficientnet_b0 regnety_002 mobilenetv3_small_100 res2net50_26w_4s ese_vovnet19b_dw "
    "ghostnet_100 hrnet_w18_small densenet121"
).split()
NETWORKS = [*PAPER.items(), *((f"timm:{name}", 0.5) for name in TIMM)]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packages(tmp_path_factory.mktemp("python") / "packages")


def variant(name: str, gamma: float) -> tuple[nn.Module, reconfig.Plan]:
    """The -R network in eval mode, its batch norms as if they had seen images."""
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    original = networks.build(name)
    plan = reconfig.plan(original, "10-10-4", gamma=gamma)
    robust = plan.apply(original)
    for module in robust.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return robust.eval(), plan


def small(plan: reconfig.Plan, batch: int, further: int = 0) -> tuple[Tensor, ...]:
    return tuple(torch.rand(batch, *shape[1:2], *(size + further for size in shape[2:])) for shape, _ in plan.inputs)


@pytest.mark.parametrize(("name", "gamma"), NETWORKS, ids=[name for name, _ in NETWORKS])
def test_code_runs_without_reconfig(name: str, gamma: float, tmp_path: Path, installed: Path) -> None:
    robust, plan = variant(name, gamma)
    written = to_code(robust, tmp_path / "robust.py", plan)
    assert written.notes == ()
    given = [small(plan, batch=2), small(plan, batch=1)]
    if written.takes == ("(N, 3, H, W)",):
        given.append(small(plan, batch=2, further=-32 if plan.inputs[0][0][-1] > 128 else 32))
    else:
        assert (name, written.takes) == ("zoo:vgg11", ("(N, 3, 32, 32)",))  # its head takes 1x1 positions
    torch.save(given, tmp_path / "given.pt")
    run_outside("robust", tmp_path, installed)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    with torch.no_grad():
        expected: list[Any] = [robust(*inputs) for inputs in given]
        assert all(map(torch.equal, found, expected))
        assert float(expected[0].std()) > 0
        torch.manual_seed(1)
        trained, state = torch.load(tmp_path / "trained.pt", weights_only=True)
        assert torch.equal(robust.train()(*given[0]), trained)
        assert all(torch.equal(state[key], tensor) for key, tensor in robust.state_dict().items())


@pytest.mark.parametrize(("name", "gamma"), NETWORKS, ids=[name for name, _ in NETWORKS])
def test_onnx_and_programs_agree(name: str, gamma: float, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    robust, plan = variant(name, gamma)
    assert to_onnx(robust, tmp_path / "robust.onnx", plan).takes[0].startswith("(N, ")
    assert to_torch_export(robust, tmp_path / "robust.pt2", plan).takes[0].startswith("(N, ")
    session = onnxruntime.InferenceSession(tmp_path / "robust.onnx", providers=["CPUExecutionProvider"])
    program = torch.export.load(tmp_path / "robust.pt2").module()
    for batch in (2, 3):
        (images,) = small(plan, batch)
        with torch.no_grad():
            expected = robust(images)
            (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
            assert float((torch.from_numpy(found) - expected).abs().max()) <= 1e-4 * max(1, float(expected.abs().max()))
            assert torch.allclose(program(images), expected, rtol=1e-4, atol=1e-5)
