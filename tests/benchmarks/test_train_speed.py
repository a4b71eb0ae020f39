"""The loop that the harness is timed against is the paper's, at its best."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.train_speed import Speed, frozen_attack, harness, summary, ways
from reconfig import zoo
from reconfig.harness.attacks.gradient import perturb
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Attack, Compute, Threat
from reconfig.harness.machine.folding import Folded


def test_its_attack_is_ours_and_asks_the_parameters_for_nothing() -> None:
    torch.manual_seed(0)
    model: nn.Module = zoo.resnet18(num_classes=10)
    images, labels = torch.rand(2, 3, 32, 32), torch.tensor([3, 7])
    found = frozen_attack(model, images, labels, Threat(), Attack(steps=2))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert model.training
    expected = perturb(model.eval(), images, labels, Threat(), Attack(steps=2, random_start=False))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert (found != images).float().mean() > 0.5


def test_rows_are_medians_of_rates_and_of_ratios_within_a_round() -> None:
    rows = summary({"the paper's loop": [1.0, 2.0, 9.0], "the harness": [2.0, 2.0, 36.0], "auto": [4.0, 8.0, 36.0]})
    assert [row["images_per_second"] for row in rows] == [2, 2, 8]
    assert [row["over_paper"] for row in rows] == [1, 2, 4]
    assert [row["over_previous"] for row in rows] == [1, 2, 2]


def test_the_harness_attacks_in_the_form_of_its_row(tmp_path: Path) -> None:
    speed = Speed(network="zoo:wrn?depth=10&widen=1", batch=2, attack_steps=1, device="cpu")
    draws = torch.Generator().manual_seed(0)
    split = Split(torch.randint(256, (4, 3, 32, 32), generator=draws, dtype=torch.uint8), torch.arange(4))
    seen: list[nn.Module] = []

    def forward(self: Folded, images: torch.Tensor) -> torch.Tensor:
        seen.append(self)
        return self.model(images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Folded, "forward", forward)
        harness(speed, Compute(device="cpu"), split, tmp_path)()
        assert not seen
        harness(speed, Compute(device="cpu", attack="folded"), split, tmp_path)()
        assert seen


def test_a_way_that_is_not_there_is_named(tmp_path: Path) -> None:
    speed = Speed(network="zoo:wrn?depth=10&widen=1", batch=2, device="cpu", only=("auto", "quick"))
    with pytest.raises(ValueError, match=r"no way called quick here; they are images on the device, the harness,"):
        ways(speed, tmp_path)


def test_ways_that_are_not_asked_for_are_left_out(tmp_path: Path) -> None:
    speed = Speed(network="zoo:wrn?depth=10&widen=1", batch=2, device="cpu", only=("the harness",))
    assert list(ways(speed, tmp_path)) == ["the paper's loop", "the harness"]
