"""One step of a training in any device, precision and layout, and how far it is from another way's: from float64's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.gpu import subjects
from reconfig.harness.attacks.engine import frozen
from reconfig.harness.attacks.gradient import perturb
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Attack, Threat
from reconfig.harness.training.methods import METHODS


@dataclass(frozen=True)
class Way:
    """One way of computing a step."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    bf16: bool = False

    def model(self, model: nn.Module) -> nn.Module:
        """A copy of ``model`` that computes so."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return deepcopy(model).to(self.device, self.dtype).to(memory_format=layout)

    def tensor(self, tensor: Tensor) -> Tensor:
        """A tensor as this way takes it."""
        kind = self.dtype if tensor.is_floating_point() else tensor.dtype
        moved = tensor.to(self.device, kind)
        return moved.contiguous(memory_format=torch.channels_last) if self.channels_last and moved.ndim == 4 else moved

    @contextmanager
    def lowered(self) -> Iterator[None]:
        """Autocast, where this way has it."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            yield


EXACT = Way(torch.device("cpu"), torch.float64)
"""What the others are held to."""


@dataclass(frozen=True)
class Step:
    """What one step computed, in float64 on the CPU."""

    adversarial: Tensor
    image_gradient: Tensor
    """Of what the attack climbs, at its first step."""
    loss: Tensor
    """Of training on given adversarial images."""
    gradient: Tensor
    """Of that loss, all parameters flat."""


def one_step(
    model: nn.Module, way: Way, method: str, batch: Split, offsets: Tensor, given: Tensor | None = None
) -> Step:
    """One step of ``method`` from ``offsets``; its loss on the adversarial images ``given``, or on its own."""
    model, made = way.model(model), METHODS[method]
    images, labels = (way.tensor(tensor) for tensor in subjects.floats(batch))
    begin = way.tensor(offsets)
    with way.lowered():
        climbed = made.climbs(model, images)
        first = (images + begin).clamp(0, 1).requires_grad_()
        with frozen(model):
            (image_gradient,) = torch.autograd.grad(climbed(model(first), labels), first)
        adversarial = perturb(model, images, labels, Threat(), Attack(), begin, climbed)
        learnt_from = adversarial if given is None else way.tensor(given)
        loss, _ = made.loss(model.train(), images, learnt_from, labels, 6.0)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    flat = torch.cat([gradient.double().flatten().cpu() for gradient in gradients])
    plain = [tensor.detach().double().cpu() for tensor in (adversarial, image_gradient, loss)]
    return Step(plain[0], plain[1], plain[2], flat)


BOUNDS = {
    ("sat", False): {"image_gradient": 1e-4, "signs": 0.005, "loss": 1e-4, "gradient": 1e-3, "attack": 0.02},
    ("sat", True): {"signs": 0.2, "loss": 0.05, "gradient": 0.2, "attack": 0.05},
    # TRADES begins where what it climbs is nearly 0, the divergence of two answers that are nearly the same: float32
    # has two to four digits of that gradient left, and bf16 none. The later steps are taken where it is not.
    ("trades", False): {"signs": 0.02, "loss": 1e-4, "gradient": 1e-3, "attack": 0.02},
    ("trades", True): {"loss": 0.05, "gradient": 0.3, "attack": 0.1},
}
"""(method, in bf16) -> what it may be off by. TF32 (10 bits) is seen in float32: its gradients are off by 1e-3."""


def compared(model: nn.Module, way: Way, method: str, batch: Split, offsets: Tensor) -> dict[str, float]:
    """By how much a step of ``way`` is off float64's, each figure as a part of the true one."""
    truth = one_step(model, EXACT, method, batch, offsets)
    found = one_step(model, way, method, batch, offsets, truth.adversarial)
    again = one_step(model, EXACT, method, batch, offsets, found.adversarial)
    there = truth.image_gradient != 0
    return {
        "image_gradient": _off(found.image_gradient, truth.image_gradient),
        "signs": float((found.image_gradient.sign() != truth.image_gradient.sign())[there].double().mean()),
        "zeros": float((found.image_gradient == 0)[there].double().mean()),
        "loss": _off(found.loss, truth.loss),
        "gradient": _off(found.gradient, truth.gradient),
        # How much less, or more, the attack found in all its steps raises the true loss.
        "attack": _off(again.loss, truth.loss),
        "pixels that ended elsewhere": float(((found.adversarial - truth.adversarial).abs() > 1e-4).double().mean()),
    }


def _off(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).norm() / truth.norm())
