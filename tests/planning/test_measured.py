"""What fvcore counts, by stage, and the plan held against it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fvcore.nn import FlopCountAnalysis, parameter_count
from torch import nn

import reconfig
from reconfig import zoo

IMAGE = torch.zeros(1, 3, 32, 32)


@pytest.mark.parametrize("factory", [zoo.vgg11, zoo.resnet18, zoo.densenet121], ids=lambda factory: factory.__name__)
def test_the_figures_are_fvcores(factory: type[nn.Module]) -> None:
    model = factory()
    counted = reconfig.count(model, IMAGE)
    analysis = FlopCountAnalysis(model.eval(), IMAGE).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    assert counted.params == parameter_count(model)[""] == sum(row.params for row in counted.stages)
    assert counted.flops == analysis.total() == sum(row.flops for row in counted.stages)


def test_a_stage_has_its_layers_and_norms() -> None:
    model = zoo.resnet18()
    rows = {row.name: row for row in reconfig.count(model, IMAGE).stages}
    for number in range(2, 5):
        layer = getattr(model, f"layer{number}")
        assert rows[f"stage {number}"].params == sum(parameter.numel() for parameter in layer.parameters())
    assert rows["head"].params == 5130
    plan = reconfig.plan(model, "10-10", example_input=IMAGE)
    assert [rows[f"stage {stage.index}"].params for stage in plan.stages] == [stage.params[0] for stage in plan.stages]
    assert list(rows)[:2] == ["stem", "stage 1"]


def test_the_table_has_a_row_for_each_stage_and_their_sum() -> None:
    lines = str(reconfig.count(zoo.vgg11(), IMAGE)).splitlines()
    assert lines[0].split() == ["parameters", "multiply-adds"]
    assert [line.split()[0] for line in lines[2:]] == ["stage"] * 5 + ["head", "in"]
    assert lines[-1].split() == ["in", "all", "9,231,114", "153,072,640"]


def test_neither_the_model_nor_the_random_state_is_touched() -> None:
    model = zoo.vgg11().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    reconfig.count(model, IMAGE)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_plan_verifies_what_it_made_and_nothing_else() -> None:
    model = zoo.resnet18()
    plan = reconfig.plan(model, "10-10-4", example_input=IMAGE)
    robust = plan.apply(model)
    plan.verify(robust)
    with pytest.raises(reconfig.VerifyError, match=r"ResNet18 has 11,173,962 parameters and its plan says 4,438,689"):
        plan.verify(model)
    wrong = replace(plan, flops=plan.flops + 1)
    with pytest.raises(
        reconfig.VerifyError, match=rf"fvcore counts {plan.flops:,} multiply-adds in this ResNet18 and its plan says"
    ):
        wrong.verify(robust)


class Fourier(nn.Module):
    """fvcore has no law for some of its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.fft.fft2(self.conv(x)).abs().mean((2, 3)))


def test_what_fvcore_knows_nothing_of_is_named() -> None:
    model = Fourier()
    plan = reconfig.plan(model, "10-10", example_input=IMAGE)
    with pytest.raises(reconfig.VerifyError, match=r"; fvcore knows nothing of aten::.*fft"):
        replace(plan, flops=1).verify(plan.apply(model))
