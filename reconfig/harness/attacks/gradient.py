"""The gradient attacks of the paper's section 5 as values for the engine: see ``ATTACKS``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import torch
from torch import Tensor, nn

from reconfig import ReconfigError
from reconfig.harness.attacks.balls import corner_start, random_start
from reconfig.harness.attacks.engine import Step, climb, frozen
from reconfig.harness.attacks.losses import Loss, batch_margin, cross_entropy, guided_margin, margin
from reconfig.harness.experiment import Attack, Threat
from reconfig.harness.randomness import generator
from reconfig.harness.watching import Passes

FGSM = Attack(steps=1, step=Fraction(1), random_start=False)
"""One step of the full radius from the image itself (Goodfellow et al., 2015)."""
PGD20 = Attack(steps=20, step=Fraction(1, 10))
"""The evaluation of Huang et al. (2021, section 4)."""


class AttackError(ReconfigError):
    """An attack that does not exist."""


@dataclass(frozen=True)
class Adversary:
    """An attack that needs to know nothing more than the network, the images and the ball."""

    craft: Callable[..., Tensor]
    """craft(model, images, labels, threat, start=offsets) -> adversarial images."""
    passes: Passes
    """What crafting takes."""
    start: Callable[[Tensor, Threat, torch.Generator], Tensor] | None = None
    """(images, threat, generator) -> the first offsets; None begins at the images themselves."""
    together: bool = False
    """Whether an image's attack depends on the others of its batch, which then must not be shared out."""


def perturb(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    attack: Attack,
    start: Tensor | None = None,
    loss: Loss = cross_entropy,
    training: bool = False,
) -> Tensor:
    """Adversarial images by projected gradient ascent (Madry et al., 2018; eq. 2 of Huang et al., 2021).

    ``images`` is [N, C, H, W] in [0, 1] and ``start`` the first offset, of the same shape (none: zero).
    Returns the last iterate: within ``threat`` of the images, in [0, 1], detached. ``attack.random_start``
    is for the caller, who has the generator: see ``random_start``. ``training`` is ``climb``'s.
    """
    return climb(model, images, labels, threat, [Step(float(attack.step), loss)] * attack.steps, start, training)


def gama(
    model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, start: Tensor | None = None, steps: int = 100
) -> Tensor:
    """Adversarial images by the guided adversarial margin attack, GAMA-PGD (Sriramanan et al., 2020).

    Takes and returns what ``perturb`` does. The weight of the relaxation falls linearly from 50 to 0 over the first
    quarter of the steps; steps begin at 2 eps and shrink tenfold after 60% and after 85% of them.
    """
    with torch.no_grad(), frozen(model):
        clean = model(images).softmax(1)
    return climb(model, images, labels, threat, _gama_steps(clean, steps), start)


def _gama_steps(clean: Tensor, steps: int) -> Iterator[Step]:
    for step in range(steps):
        size = 2 * 0.1 ** ((step >= 0.6 * steps) + (step >= 0.85 * steps))
        yield Step(size, partial(guided_margin, clean=clean, weight=50 * max(0, 1 - step / (0.25 * steps))))


ATTACKS: dict[str, Adversary] = {
    "fgsm": Adversary(partial(perturb, attack=FGSM), Passes(1)),
    "fgsm-random": Adversary(partial(perturb, attack=FGSM), Passes(1), random_start),
    "pgd20": Adversary(partial(perturb, attack=PGD20), Passes(20), random_start),
    "cw": Adversary(partial(perturb, attack=PGD20, loss=margin), Passes(20), random_start),
    "cw-batch": Adversary(partial(perturb, attack=PGD20, loss=batch_margin), Passes(20), random_start, together=True),
    "gama100": Adversary(gama, Passes(100, 1), corner_start),
}
"""The gradient attacks of the paper's section 5, by the name that recipes and tables use.

fgsm-random and cw-batch are for comparison with the paper's figures alone. Its published code has no FGSM of its own
but a PGD that always starts at random, and its CW climbs ``batch_margin``, which is far weaker than cw.
"""


def attack(
    model: nn.Module, images: Tensor, labels: Tensor, name: str = "pgd20", threat: Threat | None = None, seed: int = 0
) -> Tensor:
    """Adversarial images against ``model`` in eval mode, which stays as it was.

    Args:
        model: takes ``images`` and returns logits [N, classes]. Any network, on the device of the images.
        images: [N, C, H, W] in [0, 1].
        labels: [N], the classes to lead away from.
        name: one of ``ATTACKS``.
        threat: how far an image may be moved; 8/255 in the l-inf norm where left out.
        seed: of the random start.

    Returns:
        Images [N, C, H, W] within ``threat`` of the given ones, in [0, 1], detached.

    Raises:
        AttackError: If there is no such attack.
    """
    if name not in ATTACKS:
        raise AttackError(f"there is no attack {name!r}; write one of {', '.join(ATTACKS)}")
    adversary, threat = ATTACKS[name], threat or Threat()
    start = None
    if adversary.start is not None:
        start = adversary.start(images, threat, generator(images.device, "attack", seed))
    return adversary.craft(model, images, labels, threat, start=start)
