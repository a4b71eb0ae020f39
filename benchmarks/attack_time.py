"""What it saves that attacks differentiate with respect to the images alone.

Times the attack of a training step as the harness makes it beside the same loop with parameter gradients
kept, as a plain ``loss.backward()`` leaves them, in turns in one process, and prints the ratio.

    python benchmarks/attack_time.py
    python benchmarks/attack_time.py --network zoo:resnet18 --batch 64 --rounds 10
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import tyro
from torch import Tensor, nn

from reconfig.harness.attacks.balls import NORMS
from reconfig.harness.attacks.gradient import perturb
from reconfig.harness.attacks.losses import cross_entropy
from reconfig.harness.building import build
from reconfig.harness.experiment import Attack, Threat
from reconfig.harness.network import short


@dataclass(frozen=True)
class Timing:
    """What to time."""

    network: str = "zoo:vgg11"
    """Its name, such as zoo:vgg11, timm:resnet10t or file.py:Net."""
    batch: int = 64
    """Images in a step."""
    steps: int = 10
    """Gradient steps of the attack."""
    rounds: int = 5
    """How often each way is timed, after one round that does not count."""
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    """Where."""


def measure(timing: Timing) -> tuple[float, float]:
    """Median seconds of one attack: with image gradients alone, and with parameter gradients kept."""
    torch.manual_seed(0)
    model = build(timing.network, 10).to(timing.device)
    images = torch.rand(timing.batch, 3, 32, 32, device=timing.device)
    labels = torch.randint(10, (timing.batch,), device=timing.device)
    threat, attack = Threat(), Attack(steps=timing.steps)
    ways: dict[str, Callable[[], Tensor]] = {
        "images alone": lambda: perturb(model, images, labels, threat, attack),
        "parameters too": lambda: keep_parameter_gradients(model, images, labels, threat, attack),
    }
    first, second = (way() for way in ways.values())  # the round that does not count
    if not torch.allclose(first, second, atol=1e-6):
        raise AssertionError("the two ways must make the same adversarial images")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(timing.rounds):  # in turns, so that whatever else the machine does falls on both
        for name, way in ways.items():
            seconds[name].append(_seconds(way, timing.device))
    alone, kept = (statistics.median(taken) for taken in seconds.values())
    return alone, kept


def keep_parameter_gradients(
    model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, attack: Attack
) -> Tensor:
    """``perturb`` as it is commonly written: eval mode, and a backward pass through everything."""
    norm, eps = NORMS[threat.norm], float(threat.eps)
    model.eval()
    adversarial = images
    for _ in range(attack.steps):
        adversarial = adversarial.detach().requires_grad_()
        model.zero_grad()
        cross_entropy(model(adversarial), labels).backward()
        if adversarial.grad is None:
            raise AssertionError("the images took no gradient")
        offset = adversarial.detach() + float(attack.step) * eps * norm.ascend(adversarial.grad) - images
        adversarial = (images + norm.project(offset, eps)).clamp(0, 1)
    model.train()
    return adversarial


def _seconds(way: Callable[[], Tensor], device: str) -> float:
    began = time.perf_counter()
    way()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    timing = tyro.cli(Timing, description=__doc__)
    alone, kept = measure(timing)
    print(f"{short(timing.network)}, PGD-{timing.steps}, {timing.batch} images on {timing.device}:")
    print(f"  image gradients alone     {alone:.3f} s")
    print(f"  parameter gradients kept  {kept:.3f} s")
    print(f"  ratio                     {alone / kept:.3f}")
