"""The training methods: where each attack begins, what it climbs, and the loss on what it found.

A method sees one batch and two networks that share their weights: the attack differentiates the bare one in eval
mode, and the loss is that of the training one. Everything around a method (order, augmentation, optimiser, weight
perturbation, averaging) is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from reconfig.harness.attacks.balls import normal, random_start
from reconfig.harness.attacks.engine import frozen
from reconfig.harness.attacks.losses import Loss, cross_entropy
from reconfig.harness.experiment import Threat

NEAR = 0.001
"""Standard deviation of the offsets that TRADES begins with."""


class Method(NamedTuple):
    """One way of adversarial training."""

    loss: Callable[[nn.Module, Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
    """(network, images, adversarial images, labels, beta) -> the loss to minimise, a mean over the batch, and the
    adversarial logits [N, classes]."""
    climbs: Callable[[nn.Module, Tensor], Loss]
    """(network, images) -> what the attack climbs, a sum over the batch."""
    start: Callable[[Tensor, Threat, Generator], Tensor]
    """(images, threat, generator) -> the offsets that an attack with a random start begins with."""


# ---------------------------------------------------------------- losses


def sat(network: nn.Module, images: Tensor, adversarial: Tensor, labels: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Standard adversarial training: cross-entropy on adversarial images (Madry et al., 2018, eq. 2.1)."""
    logits = network(adversarial)
    return F.cross_entropy(logits, labels), logits


def trades(
    network: nn.Module, images: Tensor, adversarial: Tensor, labels: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    """CE(f(x), y) + beta KL(f(x) || f(x')) (Zhang et al., 2019, eq. 5, with beta for their 1/lambda)."""
    clean, logits = network(images), network(adversarial)
    return F.cross_entropy(clean, labels) + beta * divergence(clean, logits).mean(), logits


def mart(network: nn.Module, images: Tensor, adversarial: Tensor, labels: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """BCE(p(x'), y) + beta KL(p(x) || p(x')) (1 - p_y(x)) (Wang et al., 2020, section 3.3)."""
    clean, logits = network(images), network(adversarial)
    doubt = 1 - clean.softmax(1).gather(1, labels[:, None]).squeeze(1)
    return (boosted_cross_entropy(logits, labels) + beta * divergence(clean, logits) * doubt).mean(), logits


def boosted_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p_y - log(1 - max over k != y of p_k), for each image (Wang et al., 2020, section 3.3)."""
    right = F.one_hot(labels, logits.shape[1]).bool()
    rival = logits.masked_fill(right, -torch.inf).argmax(1, keepdim=True)
    # 1 - p_k as the sum of the other probabilities: exact where p_k rounds to 1.
    others = logits.scatter(1, rival, -torch.inf).logsumexp(1)
    return F.cross_entropy(logits, labels, reduction="none") - (others - logits.logsumexp(1))


def divergence(clean: Tensor, logits: Tensor) -> Tensor:
    """KL(p || q) for each image, of the predictions p and q that these logits [N, classes] stand for."""
    return F.kl_div(logits.log_softmax(1), clean.log_softmax(1), reduction="none", log_target=True).sum(1)


# ---------------------------------------------------------------- what attacks climb, and where they begin


def from_label(network: nn.Module, images: Tensor) -> Loss:
    """Away from the label: cross-entropy."""
    return cross_entropy


def from_prediction(network: nn.Module, images: Tensor) -> Loss:
    """Away from the clean prediction: KL(f(x) || f(x')), the inner maximum of TRADES (Zhang et al., 2019, alg. 1)."""
    with torch.no_grad(), frozen(network):
        clean = network(images)
    return partial(_total_divergence, clean)


def _total_divergence(clean: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    return divergence(clean, logits).sum()


def near(images: Tensor, threat: Threat, generator: Generator) -> Tensor:
    """Offsets 0.001 N(0, 1), whatever the ball (Zhang et al., 2019, alg. 1)."""
    return NEAR * normal(images, generator)


# ---------------------------------------------------------------- the methods

METHODS: dict[str, Method] = {
    "sat": Method(sat, from_label, random_start),
    "trades": Method(trades, from_prediction, near),
    "mart": Method(mart, from_label, random_start),
    # Robust self-training is TRADES on labelled and pseudo-labelled images (Carmon et al., 2019, alg. 1).
    "rst": Method(trades, from_prediction, near),
    # Fast adversarial training is SAT by one step from a random point (Wong et al., 2020, alg. 3).
    "fast": Method(sat, from_label, random_start),
}
