"""The learning rate and the momentum over the epochs."""

from __future__ import annotations

import math

from reconfig.harness.experiment import Train


def learning_rate(train: Train, epoch: float) -> float:
    """The rate after ``epoch`` epochs, counted from 0; a step's is that at its beginning.

    step: ``lr`` multiplied by ``decay`` at each milestone reached. cosine: lr (1 + cos(pi t)) / 2 at the part t of the
    training (Loshchilov and Hutter, 2017, eq. 5). cyclic: a triangle with its top in the middle (Smith, 2017).
    """
    part = epoch / train.epochs
    match train.schedule:
        case "step":
            return train.lr * train.decay ** sum(epoch >= milestone * train.epochs for milestone in train.milestones)
        case "cosine":
            return train.lr * (1 + math.cos(math.pi * part)) / 2
        case "cyclic":
            return train.lr * _triangle(part)


def momentum(train: Train, epoch: float) -> float:
    """The momentum after ``epoch`` epochs, counted from 0: against a cyclic rate's course where that is asked for."""
    if train.momentum_low is None:
        return train.momentum
    return train.momentum - (train.momentum - train.momentum_low) * _triangle(epoch / train.epochs)


def _triangle(part: float) -> float:
    """From 0 to 1 in the first half and back to 0 in the second."""
    return 1 - abs(1 - 2 * part)
