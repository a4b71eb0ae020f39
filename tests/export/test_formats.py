"""The formats of torch's own exporters and safetensors, and what they have in common."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from strange import STRANGE, convolutions
from torch import Tensor, nn

import reconfig
from reconfig import ExportError, zoo
from reconfig.export import onnx as onnx_format, to_code, to_onnx, to_safetensors, to_torch_export
from reconfig.export.formats import FORMATS, format_of
from reconfig.export.programs import Program
from reconfig.export.weights import fill
from reconfig.writing import whole


def head() -> nn.Sequential:
    return nn.Sequential(convolutions(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


def test_a_program_of_torch_export_takes_any_batch(tmp_path: Path) -> None:
    network = head().train()
    written = to_torch_export(network, tmp_path / "network.pt2", example_input=torch.rand(1, 3, 16, 16))
    assert (written.files, written.takes) == ((tmp_path / "network.pt2",), ("(N, 3, 16, 16)",))
    assert network.training
    images = torch.rand(5, 3, 16, 16)
    program = torch.export.load(tmp_path / "network.pt2").module()
    assert torch.allclose(program(images), network.eval()(images), atol=1e-6)


@pytest.mark.slow  # importing onnxscript alone takes seconds
def test_onnx_takes_any_batch(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network = head().eval()
    written = to_onnx(network, tmp_path / "network.onnx", example_input=torch.rand(1, 3, 16, 16))
    assert (written.takes, written.notes) == (("(N, 3, 16, 16)",), ())
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    (given,) = session.get_inputs()
    assert (given.name, given.shape[1:]) == ("input", [3, 16, 16])
    assert isinstance(given.shape[0], str)  # a name, so any number
    assert [(item.name, item.shape[1]) for item in session.get_outputs()] == [("output", 5)]
    images = torch.rand(5, 3, 16, 16)
    (found,) = session.run(None, {"input": images.numpy()})
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(found), network(images), atol=1e-5)


def test_onnx_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_format, "_NEEDED", ("no_such_onnx", "torch"))
    with pytest.raises(ExportError, match=r"ONNX needs no_such_onnx: pip install 'robust-reconfig\[onnx\]'"):
        to_onnx(head(), tmp_path / "network.onnx")


def test_a_batch_that_the_network_keeps_is_said(tmp_path: Path) -> None:
    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = head()

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x).view(int(x.shape[0]), 5) + torch.zeros(2, 5, device=x.device)

    written = to_torch_export(Keeps(), tmp_path / "network.pt2", example_input=torch.rand(2, 3, 16, 16))
    assert written.takes == ("(2, 3, 16, 16)",)


def test_what_torch_cannot_capture_says_so(tmp_path: Path) -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = head()

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x) if x.sum() > 0 else x

    with pytest.raises(ExportError, match=r"^torch\.export cannot capture Reads: "):
        to_torch_export(Reads(), tmp_path / "network.pt2", example_input=torch.rand(2, 3, 16, 16))
    assert list(tmp_path.iterdir()) == []


def test_other_numbers_are_seen() -> None:
    program = Program(None, (), (), (torch.ones(2, 3),))  # type: ignore[arg-type]
    program.compare((torch.ones(2, 3) + 5e-5,), "it")
    with pytest.raises(ExportError, match=r"^it differs from the network by 0\.001"):
        program.compare((torch.ones(2, 3) + 1e-3,), "it")
    with pytest.raises(ExportError, match="it differs from the network by nan"):
        program.compare((torch.full((2, 3), float("nan")),), "it")
    with pytest.raises(ExportError, match=r"it gives \(3, 2\), and the network \(2, 3\)"):
        program.compare((torch.ones(3, 2),), "it")
    with pytest.raises(ExportError, match="it gives 0 tensors, and the network 1"):
        program.compare((), "it")


def test_safetensors_carry_the_plan(tmp_path: Path) -> None:
    model = zoo.wrn(10, 1)
    plan = reconfig.plan(model, "10-10-4")
    robust = plan.apply(model)
    written = to_safetensors(robust, tmp_path / "wrn.safetensors", plan)
    assert written.takes == (str(plan.inputs[0][0]),)
    again = reconfig.load(tmp_path / "wrn.safetensors", lambda: zoo.wrn(10, 1))
    assert all(torch.equal(again.state_dict()[key], tensor) for key, tensor in robust.state_dict().items())


def test_an_ending_says_the_format() -> None:
    assert {name: found.suffix for name, found in FORMATS.items()} == {
        "code": ".py",
        "onnx": ".onnx",
        "safetensors": ".safetensors",
        "torch-export": ".pt2",
    }
    assert format_of(Path("a/b.onnx")).write is to_onnx
    assert format_of(Path("b.py")).write is to_code
    with pytest.raises(
        ExportError, match=r"b\.h5 does not say what to write: end it in \.py \(code\), \.onnx \(onnx\)"
    ):
        format_of(Path("b.h5"))


@pytest.mark.parametrize(("name", "found"), FORMATS.items(), ids=FORMATS)
def test_every_format_looks_at_its_path_first(name: str, found: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=rf"x\.bin does not end in \{found.suffix}: write network\{found.suffix}"):
        found.write(head(), tmp_path / "x.bin")
    (tmp_path / f"folder{found.suffix}").mkdir()
    with pytest.raises(ExportError, match="it is a folder"):
        found.write(head(), tmp_path / f"folder{found.suffix}")


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("before")
    with pytest.raises(KeyError), whole(path) as unfinished:
        raise KeyError(unfinished.write_text("half"))
    assert path.read_text() == "before"
    with whole(path) as unfinished:
        assert unfinished.suffix == path.suffix
        unfinished.write_text("after")
    assert path.read_text() == "after"
    assert os.listdir(tmp_path) == ["file.txt"]
    with pytest.raises(ExportError, match=r"cannot write .*file\.txt: "), whole(path):
        pass  # nothing was written


# -- weights --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"epoch": 3, "state_dict": s}, lambda s: {"model": s}])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_weights_of_checkpoints(wrap: Any, prefix: str, tmp_path: Path) -> None:
    trained, fresh = head(), head()
    torch.save(wrap({prefix + name: tensor for name, tensor in trained.state_dict().items()}), tmp_path / "net.pt")
    fill(fresh, tmp_path / "net.pt")
    assert all(torch.equal(fresh.state_dict()[key], tensor) for key, tensor in trained.state_dict().items())


def test_weights_of_safetensors_and_of_shared_modules(tmp_path: Path) -> None:
    trained, fresh = STRANGE["Shared"](), STRANGE["Shared"]()
    reconfig.save(trained, tmp_path / "net.safetensors")
    fill(fresh, tmp_path / "net.safetensors")
    assert all(torch.equal(fresh.state_dict()[key], tensor) for key, tensor in trained.state_dict().items())


def test_weights_that_are_not_of_the_network(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    with pytest.raises(ExportError, match=r"net\.pt is missing"):
        fill(head(), path)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ExportError, match=r"net\.pt (cannot be read|holds more than tensors)"):
        fill(head(), path)
    torch.save(head(), path)
    with pytest.raises(
        ExportError, match=r"holds more than tensors, which is not executed: torch\.save\(model\.state_dict"
    ):
        fill(head(), path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(ExportError, match=r"net\.pt holds no state dict: torch\.save\(model\.state_dict\(\), path\)"):
        fill(head(), path)
    torch.save(head()[0].state_dict(), path)
    with pytest.raises(
        ExportError, match=r"0\.0\.bias is missing in the file and \(8,\) in the network; .*; and \d+ more; give"
    ):
        fill(head(), path)
