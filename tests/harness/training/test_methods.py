"""The losses against their equations, written out with probabilities and loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from reconfig.harness.attacks.gradient import perturb
from reconfig.harness.experiment import TRAINING, Attack, Threat
from reconfig.harness.randomness import generator
from reconfig.harness.training.averaging import average
from reconfig.harness.training.methods import METHODS, NEAR, boosted_cross_entropy, divergence
from reconfig.harness.training.weight_perturbation import perturbed, worst_direction

BETA = 6.0
LABELS = torch.tensor([0, 3, 1, 2, 3, 0, 1])


def network(scale: float = 1.0) -> nn.Module:
    torch.manual_seed(1)
    made = nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 4)).double()
    with torch.no_grad():
        made[3].weight.mul_(scale)
    return made


def images(seed: int = 0) -> Tensor:
    return torch.rand(7, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def probabilities(logits: Tensor) -> list[Tensor]:
    """softmax by its definition, a vector for each image."""
    return [torch.exp(row) / torch.exp(row).sum() for row in logits]


def written_sat(clean: Tensor, attacked: Tensor) -> Tensor:
    return sum(-torch.log(p[y]) for p, y in zip(probabilities(attacked), LABELS, strict=True)) / len(LABELS)


def written_kl(p: Tensor, q: Tensor) -> Tensor:
    return sum(p[k] * torch.log(p[k] / q[k]) for k in range(len(p)))


def written_trades(clean: Tensor, attacked: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for p, q, y in zip(probabilities(clean), probabilities(attacked), LABELS, strict=True):
        total = total - torch.log(p[y]) + BETA * written_kl(p, q)
    return total / len(LABELS)


def written_mart(clean: Tensor, attacked: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for p, q, y in zip(probabilities(clean), probabilities(attacked), LABELS, strict=True):
        rival = max(q[k] for k in range(len(q)) if k != y)
        total = total - torch.log(q[y]) - torch.log(1 - rival) + BETA * written_kl(p, q) * (1 - p[y])
    return total / len(LABELS)


WRITTEN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sat": written_sat,
    "trades": written_trades,
    "mart": written_mart,
    "rst": written_trades,
    "fast": written_sat,
}


def test_every_method_is_written_out_here() -> None:
    assert METHODS.keys() == WRITTEN.keys() == TRAINING.keys()
    assert all(TRAINING[name].method == name for name in TRAINING)


@pytest.mark.parametrize("scale", [1.0, 20.0])
@pytest.mark.parametrize("name", METHODS)
def test_losses_are_their_equations(name: str, scale: float) -> None:
    model, clean, attacked = network(scale), images(), images(1)
    loss, logits = METHODS[name].loss(model, clean, attacked, LABELS, BETA)
    wanted = WRITTEN[name](model(clean), model(attacked))
    assert torch.equal(logits, model(attacked))
    assert loss.item() == pytest.approx(wanted.item(), rel=0, abs=1e-6)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    for gradient, other in zip(gradients, torch.autograd.grad(wanted, list(model.parameters())), strict=True):
        assert torch.allclose(gradient, other, rtol=0, atol=1e-6)
        assert gradient.abs().max() > 1e-3


def test_certain_predictions_give_finite_losses_and_gradients() -> None:
    logits = torch.tensor([[200.0, 0.0, -200.0], [0.0, 200.0, 0.0]], requires_grad=True)
    clean = torch.tensor([[0.0, 300.0, 0.0], [0.0, 0.0, 300.0]], requires_grad=True)
    labels = torch.tensor([0, 2])
    loss = boosted_cross_entropy(logits, labels) + divergence(clean, logits)
    # Certain and right costs nothing; certain and wrong costs -log p twice.
    assert boosted_cross_entropy(logits, labels).tolist() == pytest.approx([0, 200 + 200 - math.log(2)], abs=1e-4)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(logits.grad).all()
    assert torch.isfinite(clean.grad).all()


@pytest.mark.parametrize("name", ["trades", "rst"])
def test_trades_attacks_the_clean_prediction_from_nearby(name: str) -> None:
    model, clean = network().train(), images()
    method, threat = METHODS[name], Threat()
    start = method.start(clean, threat, generator("cpu", 0))
    assert start.std().item() == pytest.approx(NEAR, rel=0.3)
    climbed = method.climbs(model, clean)
    attacked = (clean + start).requires_grad_()
    value = climbed(model(attacked), LABELS)
    wanted = sum(
        written_kl(p.detach(), q)
        for p, q in zip(probabilities(model(clean)), probabilities(model(attacked)), strict=True)
    )
    assert value.item() == pytest.approx(wanted.item(), abs=1e-12)
    (gradient,), (other,) = (torch.autograd.grad(total, attacked) for total in (value, wanted))
    assert torch.allclose(gradient, other, rtol=0, atol=1e-9)
    found = perturb(model, clean, LABELS, threat, Attack(), start, climbed)
    assert climbed(model(found), LABELS) > 10 * value
    assert model.training


def test_the_prediction_to_leave_is_made_in_eval_mode() -> None:
    norm = nn.BatchNorm2d(3).double()
    model = nn.Sequential(norm, network()).train()
    METHODS["trades"].climbs(model, images())
    assert norm.num_batches_tracked == 0
    assert model.training


@pytest.mark.parametrize("name", ["sat", "mart", "fast"])
def test_the_others_attack_the_label_from_anywhere_in_the_ball(name: str) -> None:
    method, threat = METHODS[name], Threat()
    start = method.start(images(), threat, generator("cpu", 0))
    assert start.abs().max() > 0.8 * float(threat.eps)
    logits = network()(images())
    wanted = len(LABELS) * written_sat(logits, logits)
    assert method.climbs(network(), images())(logits, LABELS).item() == pytest.approx(wanted.item())


def test_recipes_are_those_of_the_papers() -> None:
    sat, trades, mart, rst, fast = (TRAINING[name] for name in ("sat", "trades", "mart", "rst", "fast"))
    assert [t.weight_decay for t in TRAINING.values()] == [2e-4, 2e-4, 2e-4, 5e-4, 5e-4]
    assert [t.grad_clip for t in (sat, trades, mart, rst)] == [5, 5, 5, None]
    assert [t.beta for t in (trades, mart, rst)] == [6, 6, 6]
    assert (rst.epochs, rst.batch, rst.schedule, rst.lr) == (400, 256, "cosine", 0.1)
    assert (fast.attack.steps, float(fast.attack.step), fast.attack.random_start) == (1, 1.25, True)
    assert (fast.schedule, fast.attack_mode, fast.momentum_low) == ("cyclic", "train", 0.8)
    assert {t.attack_mode for t in (sat, trades, mart, rst)} == {"eval"}


# ---------------------------------------------------------------- weights


def test_weight_perturbation_is_the_gradient_at_the_weights_length() -> None:
    model, batch = network(), images()

    def loss() -> Tensor:
        return nn.functional.cross_entropy(model(batch), LABELS)

    directions = worst_direction(model, loss, lambda gradient: 2 * gradient)  # as if two processes had summed
    weights = [model[1].weight, model[3].weight]
    for direction, weight, gradient in zip(directions, weights, torch.autograd.grad(loss(), weights), strict=True):
        assert torch.allclose(direction, weight.norm() * gradient / gradient.norm(), rtol=1e-9)
    before, lower = [parameter.clone() for parameter in model.parameters()], loss()
    with perturbed(model, directions, size=0.01):
        for weight, old in zip(weights, (before[0], before[2]), strict=True):
            assert (weight - old).norm().item() == pytest.approx(0.01 * old.norm().item())
        assert torch.equal(model[1].bias, before[1])
        assert loss() > lower
    assert all(torch.equal(parameter, old) for parameter, old in zip(model.parameters(), before, strict=True))


def test_weights_come_back_after_an_error() -> None:
    model = network()
    before = model[1].weight.clone()
    with pytest.raises(KeyError), perturbed(model, [torch.ones_like(before), torch.ones(4, 9)], size=0.1):
        raise KeyError
    assert torch.equal(model[1].weight, before)


def test_weight_perturbation_leaves_running_statistics() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3).double(), network()).train()
    worst_direction(model, lambda: model(images()).square().sum(), lambda gradient: gradient)
    assert model[0].num_batches_tracked == 0
    assert torch.equal(model[0].running_mean, torch.zeros(3, dtype=torch.float64))


def test_a_layer_without_gradient_is_not_moved() -> None:
    model = network()
    directions = worst_direction(model, lambda: sum((0 * p).sum() for p in model.parameters()), lambda g: g)
    assert all(torch.equal(direction, torch.zeros_like(direction)) for direction in directions)


def test_averages() -> None:
    mean, model = (nn.BatchNorm1d(1) for _ in range(2))
    model.weight.data.fill_(3)
    model.running_mean.fill_(1)
    model.num_batches_tracked.fill_(5)
    average(mean, model, decay=0.75, step=1000)
    assert mean.weight.item() == pytest.approx(0.75 * 1 + 0.25 * 3)
    assert mean.running_mean.item() == pytest.approx(0.25)
    assert mean.num_batches_tracked == 5
    average(mean, model, decay=0.75, step=0)  # the first steps count for more: d is a tenth
    assert mean.weight.item() == pytest.approx(0.1 * 1.5 + 0.9 * 3)
