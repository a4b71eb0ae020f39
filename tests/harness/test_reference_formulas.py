"""The formulas of the papers, written out from their equations in float64 by NumPy, beside our functions.

Nothing here is computed by torch but what is tested. The network is linear, z = W x + b, so that its gradients are
written out too: that of a loss in an image is W^T times that in the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import comb

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from reconfig.harness.attacks.engine import Step, climb
from reconfig.harness.attacks.gradient import PGD20, gama, perturb
from reconfig.harness.attacks.losses import batch_margin, cross_entropy, guided_margin, margin
from reconfig.harness.experiment import Threat
from reconfig.harness.measuring.lipschitz import NETWORK, rates
from reconfig.harness.reports.statistics import over_images
from reconfig.harness.training.averaging import average
from reconfig.harness.training.methods import METHODS
from reconfig.harness.training.weight_perturbation import perturbed, worst_direction

Array = NDArray[np.float64]
Gradient = Callable[[Array], Array]
"""Logits [N, K] -> the gradient of a loss in them."""

N, K, SHAPE = 6, 4, (3, 2, 2)
D = 12
BETA = 6.0
DRAWS = np.random.default_rng(0)
W, B = DRAWS.normal(size=(K, D)), DRAWS.normal(size=K)
X, X_ADV = DRAWS.uniform(size=(2, N, D))
Y = np.array([0, 3, 1, 2, 2, 0])
EPS = Fraction(16, 255)


def network() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(D, K)).double()
    model[1].load_state_dict({"weight": torch.from_numpy(W), "bias": torch.from_numpy(B)})
    return model


def image(values: Array) -> torch.Tensor:
    return torch.from_numpy(values).view(len(values), *SHAPE)


LABELS = torch.from_numpy(Y)


def logits(x: Array) -> Array:
    return x @ W.T + B


def softmax(z: Array) -> Array:
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def kl(p: Array, q: Array) -> Array:
    return (p * np.log(p / q)).sum(1)


def rivals(z: Array) -> NDArray[np.int64]:
    """The class of the largest wrong logit."""
    return np.array([max((k for k in range(K) if k != y), key=lambda k: row[k]) for row, y in zip(z, Y, strict=True)])


def at(classes: NDArray[np.int64]) -> Array:
    return np.eye(K)[classes]


# ---------------------------------------------------------------- losses of trainings


def sat() -> float:
    """Madry et al. (2018), eq. 2.1, with cross-entropy: the mean of -log p_y(x')."""
    return float(np.mean([-np.log(softmax(logits(X_ADV))[i, Y[i]]) for i in range(N)]))


def trades() -> float:
    """Zhang et al. (2019), eq. 5: CE(f(x), y) + beta KL(f(x) || f(x'))."""
    p, q = softmax(logits(X)), softmax(logits(X_ADV))
    return float(np.mean([-np.log(p[i, Y[i]]) for i in range(N)]) + BETA * kl(p, q).mean())


def mart() -> float:
    """Wang et al. (2020), section 3.3: BCE(p(x'), y) + lambda KL(p(x) || p(x')) (1 - p_y(x))."""
    p, q = softmax(logits(X)), softmax(logits(X_ADV))
    total = 0.0
    for i in range(N):
        rival = max(q[i, k] for k in range(K) if k != Y[i])
        total += -np.log(q[i, Y[i]]) - np.log(1 - rival) + BETA * kl(p, q)[i] * (1 - p[i, Y[i]])
    return total / N


@pytest.mark.parametrize(("name", "wanted"), [("sat", sat), ("trades", trades), ("mart", mart)])
def test_losses_of_trainings(name: str, wanted: Callable[[], float]) -> None:
    loss, _ = METHODS[name].loss(network(), image(X), image(X_ADV), LABELS, BETA)
    assert loss.item() == pytest.approx(wanted(), rel=1e-13, abs=1e-13)


# ---------------------------------------------------------------- what attacks climb


def test_losses_of_attacks() -> None:
    z = logits(X)
    right, wrong = z[np.arange(N), Y], z[np.arange(N), rivals(z)]
    held = torch.from_numpy(z)
    # Carlini and Wagner (2017), section V, f6, for each image: max_{k != y} z_k - z_y.
    assert margin(held, LABELS).item() == pytest.approx((wrong - right).sum(), rel=1e-13)
    # The published code of Huang et al.: -ReLU(sum of the right logits - sum of the largest wrong ones).
    turned = -max(right.sum() - wrong.sum(), 0.0)
    assert batch_margin(held, LABELS).item() == pytest.approx(turned, rel=1e-13, abs=1e-13)
    swapped = torch.from_numpy(np.where(np.eye(K)[Y] > 0, z + 100, z))
    assert batch_margin(swapped, LABELS).item() == pytest.approx((wrong - right).sum() - 100 * N, rel=1e-13)
    # GAMA, Sriramanan et al. (2020): max_{k != y} p_k - p_y + lambda ||p(x') - p(x)||_2^2.
    p, q = softmax(z), softmax(logits(X_ADV))
    gaps = q[np.arange(N), rivals(q)] - q[np.arange(N), Y]
    ours = guided_margin(torch.from_numpy(logits(X_ADV)), LABELS, torch.from_numpy(p), 17.0)
    assert ours.item() == pytest.approx((gaps + 17.0 * ((q - p) ** 2).sum(1)).sum(), rel=1e-13)


def written_ascent(start: Array, sizes: list[float], gradients: list[Gradient]) -> Array:
    """Eq. 2 of Huang et al. (2021): x <- Pi(x + alpha sign(grad)), into the ball and [0, 1]."""
    eps = float(EPS)
    moved = np.clip(X + start, 0, 1)
    for size, gradient in zip(sizes, gradients, strict=True):
        moved = moved + size * np.sign(gradient(logits(moved)) @ W)
        moved = np.clip(np.clip(moved, X - eps, X + eps), 0, 1)
    return moved


def of_cross_entropy(z: Array) -> Array:
    return softmax(z) - at(Y)


def of_margin(z: Array) -> Array:
    return at(rivals(z)) - at(Y)


def of_batch_margin(z: Array) -> Array:
    """Nothing at all, once the sum has turned."""
    right, wrong = z[np.arange(N), Y].sum(), z[np.arange(N), rivals(z)].sum()
    return of_margin(z) * float(right > wrong)


def of_guided_margin(weight: float) -> Gradient:
    clean = softmax(logits(X))

    def gradient(z: Array) -> Array:
        p = softmax(z)
        in_p = at(rivals(p)) - at(Y) + 2 * weight * (p - clean)
        return p * (in_p - (p * in_p).sum(1, keepdims=True))  # through the softmax

    return gradient


START = DRAWS.uniform(-float(EPS), float(EPS), size=(N, D))


@pytest.mark.parametrize(
    ("loss", "gradient"),
    [(cross_entropy, of_cross_entropy), (margin, of_margin), (batch_margin, of_batch_margin)],
    ids=["pgd20", "cw", "cw-batch"],
)
def test_attacks_of_twenty_steps(loss: Callable[..., torch.Tensor], gradient: Gradient) -> None:
    found = perturb(network(), image(X), LABELS, Threat("linf", EPS), PGD20, image(START), loss)
    wanted = written_ascent(START, [float(EPS) / 10] * 20, [gradient] * 20)
    assert np.abs(found.flatten(1).numpy() - wanted).max() < 1e-12


def test_both_ways_of_cw_differ_where_the_sum_of_a_batch_turns() -> None:
    ours = written_ascent(START, [float(EPS) / 10] * 20, [of_margin] * 20)
    theirs = written_ascent(START, [float(EPS) / 10] * 20, [of_batch_margin] * 20)
    assert np.abs(ours - theirs).max() > 1e-3


def test_gama_over_its_schedule() -> None:
    found = gama(network(), image(X), LABELS, Threat("linf", EPS), image(START), steps=40)
    sizes = [2 * float(EPS) * (1.0 if step < 24 else 0.1 if step < 34 else 0.01) for step in range(40)]
    gradients = [of_guided_margin(50 * max(0.0, 1 - step / 10)) for step in range(40)]
    assert np.abs(found.flatten(1).numpy() - written_ascent(START, sizes, gradients)).max() < 1e-12


def test_a_step_of_l2_is_the_gradient_at_full_length() -> None:
    eps = 0.3
    found = climb(network(), image(X), LABELS, Threat("l2", Fraction(3, 10)), [Step(0.5, cross_entropy)])
    gradient = of_cross_entropy(logits(X)) @ W
    moved = X + 0.5 * eps * gradient / np.sqrt((gradient**2).sum(1, keepdims=True))
    assert np.abs(found.flatten(1).numpy() - np.clip(moved, 0, 1)).max() < 1e-12


# ---------------------------------------------------------------- weights


def test_adversarial_weight_perturbation() -> None:
    """Wu et al. (2020), section 4: v <- gamma ||w|| grad / ||grad|| for each layer; the loss is that of SAT."""
    model = network()
    in_weight = of_cross_entropy(logits(X_ADV)).T @ X_ADV / N
    wanted = W + 0.01 * np.linalg.norm(W) * in_weight / np.linalg.norm(in_weight)

    def loss() -> torch.Tensor:
        return METHODS["sat"].loss(model, image(X), image(X_ADV), LABELS, BETA)[0]

    with perturbed(model, worst_direction(model, loss, lambda gradient: gradient), 0.01):
        assert np.abs(model[1].weight.detach().numpy() - wanted).max() < 1e-12
        assert np.array_equal(model[1].bias.detach().numpy(), B)
    assert np.array_equal(model[1].weight.detach().numpy(), W)


def test_the_running_mean_of_weights() -> None:
    """mean <- d mean + (1 - d) w, d = min(decay, (1 + t) / (10 + t)): of TensorFlow's ExponentialMovingAverage."""
    mean, model, wanted = network(), network(), W.copy()
    for step in range(30):
        weights = DRAWS.normal(size=(K, D))
        with torch.no_grad():
            model[1].weight.copy_(torch.from_numpy(weights))
        average(mean, model, 0.7, step)
        decay = min(0.7, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * weights
    assert np.abs(mean[1].weight.detach().numpy() - wanted).max() < 1e-12


# ---------------------------------------------------------------- figures


def test_the_empirical_lipschitz_constant() -> None:
    """Huang et al. (2021), eq. 3: ||f(x) - f(x')||_1 / ||x - x'||_inf, for each image."""
    found = rates(network(), [NETWORK], image(X), image(X_ADV))[NETWORK].numpy()
    wanted = np.abs(logits(X) - logits(X_ADV)).sum(1) / np.abs(X - X_ADV).max(1)
    assert np.abs(found / wanted - 1).max() < 1e-12


def test_mcnemars_exact_test() -> None:
    """McNemar (1947): of b + c images that one network alone has right, as unequal a split or more by a fair coin."""
    for b, c in ((3, 11), (7, 7), (0, 5), (20, 12), (0, 0)):
        first = np.array([True] * b + [False] * c + [True] * 30 + [False] * 9)
        second = np.array([False] * b + [True] * c + [True] * 30 + [False] * 9)
        found = over_images(torch.from_numpy(first), torch.from_numpy(second))
        tail = sum(comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
        assert found.p == pytest.approx(min(1.0, 2 * tail), rel=1e-12)
        assert found.mean == pytest.approx(100 * (c - b) / len(first), rel=1e-12)
