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
    right = F.one_hot(labels, logits.shape[1]).bool()
    return (logits.masked_fill(right, -torch.inf).amax(1) - logits[right]).sum()


def guided_margin(logits: Tensor, labels: Tensor, clean: Tensor, weight: float) -> Tensor:
    """The loss of GAMA (Sriramanan et al., 2020): the margin of the probabilities, and their way from ``clean``.

    ``clean`` [N, classes] are the probabilities of the unperturbed images; ``weight`` is the paper's lambda.
    """
    probabilities = logits.softmax(1)
    return margin(probabilities, labels) + weight * (probabilities - clean).square().sum()
