"""What the harness does on a device, on tensors that pretend to lie on a GPU and hold nothing.

torch refuses a call that takes them together with a CPU's, and one that would have to look at their values. On a GPU
the first is an error, and the second waits for the device, which a CUDA graph cannot.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
import torch
from torch import Generator, Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from reconfig.harness.attacks.gradient import ATTACKS, perturb
from reconfig.harness.attacks.losses import cross_entropy
from reconfig.harness.data.augmentation import as_floats, augment, rotate
from reconfig.harness.experiment import Attack, Threat
from reconfig.harness.measuring.lipschitz import NETWORK, rates, steepest
from reconfig.harness.training.averaging import average
from reconfig.harness.training.methods import METHODS
from reconfig.harness.training.weight_perturbation import perturbed, worst_direction

DRAWS = cast(Generator, None)
"""A GPU's generator is nothing that can be pretended: torch takes None for its own, on whichever device."""


@pytest.fixture(autouse=True)
def _pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def gradients(output: Tensor, inputs: Any, **_: Any) -> tuple[Tensor, ...]:
        """The engine would ask the device; a gradient lies where its input does."""
        return tuple(map(torch.empty_like, [inputs] if isinstance(inputs, Tensor) else inputs))

    monkeypatch.setattr(torch.autograd, "grad", gradients)
    with FakeTensorMode():
        yield


def network() -> nn.Module:
    with torch.device("cuda"):
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))


def batch() -> tuple[Tensor, Tensor]:
    """Varied as a training does."""
    pixels = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8, device="cuda")
    varied = rotate(augment(pixels, 1, True, DRAWS), 10.0, DRAWS)
    return as_floats(varied), torch.randint(5, (6,), device="cuda")


def test_what_a_gpu_would_refuse_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"same device|different devices"):
        torch.rand(3, device="cuda") + torch.rand(3)
    with pytest.raises(DataDependentOutputException):
        torch.rand(3, device="cuda").sum().item()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_stay_on_the_device_and_read_nothing(name: str, norm: Any) -> None:
    (images, labels), threat, adversary = batch(), Threat(norm), ATTACKS[name]
    start = None if adversary.start is None else adversary.start(images, threat, DRAWS)
    assert adversary.craft(network(), images, labels, threat, start=start).device.type == "cuda"


@pytest.mark.parametrize("name", METHODS)
def test_steps_of_training_stay_on_the_device_and_read_nothing(name: str) -> None:
    (images, labels), model, mean, method = batch(), network(), network(), METHODS[name]
    start = method.start(images, Threat(), DRAWS)
    adversarial = perturb(model, images, labels, Threat(), Attack(2), start, method.climbs(model, images))
    directions = worst_direction(
        model, lambda: method.loss(model, images, adversarial, labels, 6.0)[0], lambda total: total
    )
    with perturbed(model, directions, 0.01):
        loss, logits = method.loss(model.train(), images, adversarial, labels, 6.0)
    average(mean, model, 0.9, 3)
    assert {tensor.device.type for tensor in (loss, logits, *directions)} == {"cuda"}


def test_lipschitz_rates_stay_on_the_device() -> None:
    (images, labels), model = batch(), network()
    adversarial = perturb(model, images, labels, Threat(), Attack(1), None, cross_entropy)
    assert rates(model, [NETWORK, "0"], images, adversarial)["0"].device.type == "cuda"
    assert steepest(model, "0", images, Threat(), Attack(2), adversarial - images).device.type == "cuda"
