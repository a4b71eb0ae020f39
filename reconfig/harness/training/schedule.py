"""The learning rate over the epochs."""

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
            return train.lr * (1 - abs(1 - 2 * part))
