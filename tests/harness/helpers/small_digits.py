"""A network that is robust to some extent, trained in a moment on scikit-learn's digits: for the tests of attacks."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from reconfig.harness.attacks.gradient import perturb
from reconfig.harness.attacks.losses import cross_entropy
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Attack, Evaluate, Setting, Threat

THREAT = Threat("linf", Fraction(1, 8))
"""Under it the network loses about a quarter of the images that it knows."""
_TEST = 400


@cache
def images() -> tuple[Tensor, Tensor]:
    """All digits as uint8 [1797, 1, 8, 8], and their labels."""
    digits = load_digits()
    return torch.from_numpy(digits.images * (255 / 16)).to(torch.uint8)[:, None], torch.from_numpy(digits.target)


def test_images() -> tuple[Tensor, Tensor]:
    """The images that ``network`` was not trained on, as floats in [0, 1]."""
    pixels, labels = images()
    return pixels[-_TEST:].float() / 255, labels[-_TEST:]


test_images.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test


def unseen(count: int) -> Split:
    """The first ``count`` images that ``network`` was not trained on."""
    pixels, labels = images()
    return Split(pixels[-_TEST:][:count], labels[-_TEST:][:count])


def measured(*attacks: str, **evaluate: object) -> Setting:
    """A setting that asks for ``attacks`` under ``THREAT``."""
    return Setting(threat=THREAT, evaluate=Evaluate(attacks=attacks, batch=40, **evaluate))


def in_shards(shard: int, batch: int = 1000, threat: Threat = THREAT) -> Setting:
    """A setting for AutoAttack on all images, ``shard`` of them at a time."""
    return Setting(seed=7, threat=threat, evaluate=Evaluate(batch=batch, aa_shard=shard, aa_images=None))


@cache
def network() -> nn.Module:
    """A small network after a short adversarial training, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(512, 10),
        )
        pixels, labels = (part[:-_TEST] for part in images())
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(80):
            rows = torch.randint(len(labels), (128,))
            batch = pixels[rows].float() / 255
            attacked = perturb(model, batch, labels[rows], THREAT, Attack(steps=3, step=Fraction(1, 2)))
            optimizer.zero_grad()
            cross_entropy(model(attacked), labels[rows]).div(128).backward()
            optimizer.step()
    return model.eval()
