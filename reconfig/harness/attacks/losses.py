"""What attacks climb."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits [N, classes], labels [N]) -> a scalar that the attacker wants large."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy summed over the batch: a mean would make each image's gradient smaller without need."""
    return F.cross_entropy(logits, labels, reduction="sum")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """By how much the largest wrong logit exceeds the right one, summed over the batch.

    The objective f6 of Carlini and Wagner (2017, section V) without its floor: what CW-inf climbs.
    """
    # Gathered, not chosen by a mask: how many a mask chooses is read from the device, which a CUDA graph cannot.
    right = labels[:, None]
    return (logits.scatter(1, right, -torch.inf).amax(1) - logits.gather(1, right).squeeze(1)).sum()


def batch_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The ``margin`` of a whole batch until it turns, then 0: what the CW of the published code of Huang et al. climbs.

    That code takes -ReLU(sum of right logits - sum of largest wrong ones). So an attack stands still, for all images,
    once the wrong logits of the batch sum to more than the right ones, however many images are still right.
    """
    return -F.relu(-margin(logits, labels))


def guided_margin(logits: Tensor, labels: Tensor, clean: Tensor, weight: float) -> Tensor:
    """The loss of GAMA (Sriramanan et al., 2020): the margin of the probabilities, and their way from ``clean``.

    ``clean`` [N, classes] are the probabilities of the unperturbed images; ``weight`` is the paper's lambda.
    """
    probabilities = logits.softmax(1)
    return margin(probabilities, labels) + weight * (probabilities - clean).square().sum()
