"""``to_code``: what is hard to write as code does the same as code, and what cannot be written says so."""

from __future__ import annotations

import random
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from strange import STRANGE, Normalised, convolutions
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import reconfig
from reconfig import ExportError, zoo
from reconfig.export import to_code
from reconfig.export.code import write


def example(name: str, batch: int = 1, height: int = 32, width: int = 32) -> tuple[Tensor, ...]:
    return tuple(torch.rand(batch, 3, height, width) for _ in range(2 if name == "Keyed" else 1))


def load(path: Path) -> Any:
    return runpy.run_path(str(path))["load"]()


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_network_as_code(name: str, tmp_path: Path) -> None:
    network = STRANGE[name]().eval()
    written = to_code(network, tmp_path / "network.py", example_input=example(name))
    assert written.files == (tmp_path / "network.py", tmp_path / "network.safetensors")
    assert written.notes == ()
    assert set(written.takes) == {"(N, 3, 32, 32)" if name == "Fixed" else "(N, 3, H, W)"}
    again = load(tmp_path / "network.py")
    assert not again.training
    assert again.state_dict().keys() == network.state_dict().keys()
    sizes = [(5, 32, 32), (1, 32, 32)] + ([(2, 40, 52), (3, 34, 47)] if name != "Fixed" else [])
    with torch.no_grad():
        for size in sizes:
            inputs = example(name, *size)
            ours, theirs = again(*[each.clone() for each in inputs]), network(*inputs)
            assert type(ours) is type(theirs)
            assert all(map(same, tree_leaves(ours), tree_leaves(theirs)))
        torch.manual_seed(3)
        ours = again.train()(*inputs)
        torch.manual_seed(3)
        assert all(map(same, tree_leaves(ours), tree_leaves(network.train()(*inputs))))
    for (key, ours), theirs in zip(again.state_dict().items(), network.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), key


def same(ours: object, theirs: object) -> bool:
    return (
        torch.equal(ours, theirs) if isinstance(ours, Tensor) and isinstance(theirs, Tensor) else ours is theirs is None
    )


def test_the_way_that_was_not_recorded_is_not_taken_in_silence(tmp_path: Path) -> None:
    to_code(STRANGE["Deciding"](), tmp_path / "network.py", example_input=example("Deciding"))
    again = load(tmp_path / "network.py")
    again(torch.rand(2, 3, 30, 33))
    with pytest.raises(ValueError, match="inputs of this size go another way through the original network"):
        again(torch.rand(2, 3, 33, 32))


def test_blocks_that_are_alike_share_a_class(tmp_path: Path) -> None:
    model = zoo.wrn(16, 2)
    plan = reconfig.plan(model, "10-10-4", gamma=1)
    robust = plan.apply(model)
    to_code(robust, tmp_path / "wrn_r.py", plan)
    text = (tmp_path / "wrn_r.py").read_text()
    assert text.count("class BasicBlock") == 2  # with and without a shortcut of its own
    assert (
        "self.blocks = nn.ModuleList([NetworkBlock(16, 32, 1), NetworkBlock(32, 64, 2), NetworkBlock(64, 51, 2)])"
        in text
    )
    assert "WideResNet, rule 10-10-4, gamma 1, written by reconfig" in text
    assert reconfig.load(tmp_path / "wrn_r.safetensors", lambda: zoo.wrn(16, 2)).fc.in_features == 51


def test_a_list_of_any_length_shares_a_class(tmp_path: Path) -> None:
    to_code(STRANGE["Dense"](), tmp_path / "network.py", example_input=example("Dense"))
    text = (tmp_path / "network.py").read_text()
    assert text.count("class ") == 2
    assert "def forward(self, *features):\n        return self.conv(torch.cat(features, 1))" in text


def test_a_module_that_trains_otherwise(tmp_path: Path) -> None:
    to_code(nn.Sequential(nn.Conv2d(3, 4, 1), Normalised(4)), tmp_path / "network.py", example_input=example(""))
    text = (tmp_path / "network.py").read_text()
    assert "        if self.training:\n            self.num_batches_tracked.add_(1)\n" in text
    assert "self.training," in text


def test_another_dtype(tmp_path: Path) -> None:
    network = STRANGE["Dropped"]().to(torch.float64).eval()
    images = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    to_code(network, tmp_path / "network.py", example_input=images)
    assert torch.equal(load(tmp_path / "network.py")(images), network(images))


def test_an_auxiliary_head_in_train_mode_alone(tmp_path: Path) -> None:
    model = zoo.darts(cells=3, stem_width=8, cell_widths=(4, 8, 8), auxiliary=True)
    plan = reconfig.plan(model, "10-10-4")
    robust = plan.apply(model)
    assert to_code(robust, tmp_path / "darts_r.py", plan).notes == ()
    again, images = load(tmp_path / "darts_r.py"), torch.rand(2, 3, 32, 32)
    assert torch.equal(again(images), robust.eval()(images))
    logits, auxiliary = again.train()(images)
    expected = robust.train()(images)
    assert torch.equal(logits, expected[0])
    assert torch.equal(auxiliary, expected[1])


class Random(nn.Module):
    """Train mode that no file can have."""

    def __init__(self) -> None:
        super().__init__()
        self.body = convolutions()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * (random.random() if self.training else 1)


def test_a_training_that_cannot_be_recorded(tmp_path: Path) -> None:
    written = to_code(Random(), tmp_path / "network.py", example_input=example(""))
    assert written.notes == (
        "in eval mode alone: the forward draws from Python's or numpy's random numbers, which torch calls do not",
    )
    again = load(tmp_path / "network.py")
    again(*example(""))
    with pytest.raises(RuntimeError, match=r"eval mode alone: call \.eval\(\)"):
        again.train()(*example(""))


class Reading(Random):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.mean().item() > 0 else self.body(x)


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class OwnGradient(Random):
    def forward(self, x: Tensor) -> Tensor:
        return Twice.apply(self.body(x)) + 1


OUTSIDE = torch.rand(3, 1, 1)


class Global(Random):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x * OUTSIDE.to(x.device))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Reading, r"the network itself \(Reading, test_code\.py:\d+\) reads numbers out of a tensor \(item\)"),
        (OwnGradient, r"OwnGradient, test_code\.py:\d+\) uses an autograd function of its own \(Twice\)"),
        (
            Global,
            r"takes a tensor \(3, 1, 1\) that neither a torch call made nor a module keeps: register it as a buffer",
        ),
    ],
)
def test_what_cannot_be_written_says_so_and_leaves_nothing(kind: type[nn.Module], message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message) as raised:
        to_code(kind(), tmp_path / "network.py", example_input=example(""))
    assert str(raised.value).startswith(f"{kind.__name__} cannot be written as code: ")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_does_something_else_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write.source
    monkeypatch.setattr(
        write, "source", lambda *args: source(*args).replace("padding=1", "padding=1, dilation=1, groups=1")
    )
    to_code(convolutions(), tmp_path / "network.py", example_input=example(""))
    monkeypatch.setattr(
        write, "source", lambda *args: source(*args).replace("nn.ReLU()", "nn.ReLU6()").replace("2d(8)", "2d(8, eps=1)")
    )
    with pytest.raises(ExportError, match=r"in eval mode on .* the file does not give what Sequential gives"):
        to_code(convolutions(), tmp_path / "other.py", example_input=example(""))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.py", "network.safetensors"]


def test_somebodys_code_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "network.py"
    path.write_text("class Net: ...\n")
    with pytest.raises(ExportError, match="was not written by reconfig: give another file, or remove it"):
        to_code(convolutions(), path, example_input=example(""))
    assert path.read_text() == "class Net: ...\n"
    path.unlink()
    to_code(convolutions(), path, example_input=example(""))
    to_code(convolutions(), path, example_input=example(""))  # our own is


def test_bad_paths_and_plans(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"network\.txt does not end in \.py: write network\.py"):
        to_code(convolutions(), tmp_path / "network.txt")
    with pytest.raises(ExportError, match=r"cannot write .*nowhere/network\.py: it lies in .*, which is no folder"):
        to_code(convolutions(), tmp_path / "nowhere" / "network.py")
    with pytest.raises(ExportError, match=r"plan is str: pass what reconfig\.plan\(model, \.\.\.\) returned, or None"):
        to_code(convolutions(), tmp_path / "network.py", "10-10-4")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
