"""The judge of inherited weights: it sees what was kept, and what was not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import reconfig
from benchmarks.judging import cuts, inheritance
from benchmarks.judging.models import Entry

IMAGE = torch.zeros(1, 3, 16, 16)


def conv(width: int, new: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, new, 3, stride, 1, groups=groups, bias=False), nn.BatchNorm2d(new), nn.ReLU())


def shrunk() -> tuple[nn.Module, nn.Module, Tensor]:
    """A network, the same with half of its last stage, and images."""
    model = nn.Sequential(*conv(3, 8), *conv(8, 20, 2), nn.Conv2d(20, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.append(nn.Linear(6, 4))
    inheritance.shake(model, torch.float64)
    images = torch.randn(2, 3, 16, 16).double()
    return model, reconfig.apply(model, "10-5", weights="inherit", example_input=images), images


def test_the_benchmark_reads_what_was_cut_off_the_tensors() -> None:
    model, result, images = shrunk()
    kept_at = cuts.cuts(model, result)
    assert [len(kept) for kept in kept_at["3.weight"]] == [10, 8, 3, 3]
    assert cuts.joins(model, images) is False
    before = inheritance.logits(model, images)
    with cuts.masked(model, kept_at):
        assert inheritance.distance(inheritance.logits(model, images), inheritance.logits(result, images)) < 1e-12
    assert torch.equal(inheritance.logits(model, images), before)
    assert cuts.ranking(dict(model.named_parameters()), kept_at) == (2, [])


def test_the_benchmark_sees_other_channels() -> None:
    model, result, images = shrunk()
    kept_at = cuts.cuts(model, result)
    kept = kept_at["3.weight"][0]
    others = torch.tensor([channel for channel in range(20) if channel not in kept])
    wrong = {
        name: tuple(others if torch.equal(part, kept) else part for part in parts) for name, parts in kept_at.items()
    }
    with cuts.masked(model, wrong):
        assert inheritance.distance(inheritance.logits(model, images), inheritance.logits(result, images)) > 1e-3
    assert cuts.ranking(dict(model.named_parameters()), wrong) == (
        2,
        ["3.weight does not keep the largest channels"],
    )
    result[3].weight.data[0, 0, 0, 0] += 1e-9
    with pytest.raises(ValueError, match=r"3\.weight was not cut out of the original's"):
        cuts.cuts(model, result)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_model_that_other_people_wrote_is_shrunk_to_its_largest_channels() -> None:
    pytest.importorskip("torchvision")
    row = inheritance.shrink(Entry("resnet18", "torchvision", "resnet", "cnn", 224), 64)
    assert row is not None
    assert (row.held, row.problem, row.frozen, row.ranked) == (True, "", 0, 3)
    assert row.difference < 1e-12


@pytest.mark.parametrize(("name", "held"), [("squeezenet1_1", True), ("shufflenet_v2_x0_5", False)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_models_that_other_people_wrote_grow(name: str, held: bool) -> None:
    pytest.importorskip("torchvision")
    row = inheritance.grow(Entry(name, "torchvision", name, "cnn", 224), 1.5, 64)
    assert row.held is held
    assert held == (row.difference < 1e-4)
