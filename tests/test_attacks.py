from __future__ import annotations

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.harness.attacks import FGSM, cross_entropy, frozen, perturb, random_start
from recipes.experiment import Attack, Threat

LINF, L2 = Threat("linf", Fraction(8, 255)), Threat("l2", Fraction(1, 2))
PGD = Attack(steps=5, step=Fraction(1, 4))


def small_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 4),
    )


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    return torch.rand(6, 3, 8, 8), torch.arange(6) % 4


def lengths(offset: Tensor) -> Tensor:
    return offset.flatten(1).norm(dim=1)


def test_fgsm_on_a_linear_network_is_what_one_computes_by_hand() -> None:
    # Logits Wx of an image of three values; the loss of class 0 rises along W1 - W0 = (1, -1, 0).
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    model[1].weight.data = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    image = torch.tensor([0.5, 0.01, 0.3]).view(1, 3, 1, 1)
    attacked = perturb(model, image, torch.tensor([0]), Threat("linf", Fraction(1, 10)), FGSM)
    # 0.01 - 0.1 leaves [0, 1]; the third value has no gradient.
    assert torch.equal(attacked.flatten(), torch.tensor([0.5 + 0.1, 0.0, 0.3]))


def test_l2_step_follows_the_gradient_at_full_length() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    model[1].weight.data = torch.tensor([[0.0, 0.0, 0.0], [3.0, -4.0, 0.0]])
    image = torch.full((1, 3, 1, 1), 0.5)
    attacked = perturb(model, image, torch.tensor([0]), Threat("l2", Fraction(1, 10)), FGSM)
    assert torch.allclose((attacked - image).flatten(), torch.tensor([0.06, -0.08, 0.0]))


def test_steps_add_up_until_the_ball_ends() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    model[1].weight.data = torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 3.0]])
    image = torch.full((1, 3, 1, 1), 0.5)
    moved = [
        (perturb(model, image, torch.tensor([0]), LINF, Attack(steps, Fraction(2, 5))) - image).flatten()
        for steps in (1, 2, 3, 9)
    ]
    signs = torch.tensor([1.0, -1.0, 1.0])
    for offset, part in zip(moved, (0.4, 0.8, 1.0, 1.0), strict=True):
        assert torch.allclose(offset, part * 8 / 255 * signs, atol=1e-7)


@pytest.mark.parametrize("threat", [LINF, L2], ids=lambda threat: threat.norm)
@pytest.mark.parametrize("attack", [FGSM, PGD], ids=["fgsm", "pgd"])
def test_images_stay_in_the_ball_and_in_range_and_the_loss_rises(
    batch: tuple[Tensor, Tensor], threat: Threat, attack: Attack
) -> None:
    images, labels = batch
    before, model = images.clone(), small_network()
    start = random_start(images, threat, torch.Generator()) if attack.random_start else None
    attacked = perturb(model, images, labels, threat, attack, start)
    assert torch.equal(images, before)
    assert not attacked.requires_grad
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    offset = attacked - images
    reach = lengths(offset) if threat.norm == "l2" else offset.abs().amax((1, 2, 3))
    assert reach.max() <= float(threat.eps) + 1e-6
    assert reach.min() > 0
    with frozen(model):
        assert cross_entropy(model(attacked), labels) > cross_entropy(model(images), labels)


def test_more_steps_find_a_higher_loss(batch: tuple[Tensor, Tensor]) -> None:
    images, labels = batch
    model = small_network()
    losses = []
    for attack in (FGSM, Attack(steps=40, step=Fraction(1, 10))):
        attacked = perturb(model, images, labels, Threat("linf", Fraction(1, 4)), attack)
        with frozen(model):
            losses.append(cross_entropy(model(attacked), labels).item())
    assert losses[1] > losses[0]


def test_any_loss_can_be_climbed(batch: tuple[Tensor, Tensor]) -> None:
    images, labels = batch
    model = small_network()

    def minus(logits: Tensor, labels: Tensor) -> Tensor:
        return -cross_entropy(logits, labels)

    attacked = perturb(model, images, labels, LINF, PGD, loss=minus)
    with frozen(model):
        assert cross_entropy(model(attacked), labels) < cross_entropy(model(images), labels)


def test_the_network_is_left_as_it_was(batch: tuple[Tensor, Tensor]) -> None:
    model = small_network()
    model.train()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    perturb(model, *batch, LINF, PGD)
    assert [module.training for module in model] == [True, False, *[True] * 5]
    assert not model[0].bias.requires_grad
    assert model[0].weight.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_the_network_is_restored_after_an_error(batch: tuple[Tensor, Tensor]) -> None:
    model = small_network()
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        perturb(model, torch.rand(6, 3, 8, 8), batch[1], LINF, PGD, loss=lambda logits, _: logits @ logits)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_network_is_attacked_in_eval_mode_with_frozen_parameters(batch: tuple[Tensor, Tensor]) -> None:
    model, seen = small_network(), []
    model[0].register_forward_pre_hook(
        lambda module, _: seen.append((model.training, module.training, module.weight.requires_grad))
    )
    perturb(model, *batch, LINF, PGD)
    assert seen == [(False, False, False)] * PGD.steps


@pytest.mark.parametrize("threat", [LINF, L2], ids=lambda threat: threat.norm)
def test_random_starts_come_from_the_generator_alone(threat: Threat) -> None:
    images = torch.rand(4, 3, 8, 8)
    state = torch.get_rng_state()
    first, again, other = (random_start(images, threat, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_random_starts_fill_the_ball_evenly() -> None:
    images, draws = torch.zeros(4000, 1, 1, 2), torch.Generator().manual_seed(0)
    square = random_start(images, Threat("linf", Fraction(1)), draws).flatten()
    assert square.abs().max() <= 1
    assert abs(square.abs().mean().item() - 1 / 2) < 0.02
    disc = lengths(random_start(images, Threat("l2", Fraction(1)), draws))
    assert disc.max() <= 1 + 1e-6
    # The mean radius of a disc filled evenly is 2/3; a uniform radius would have 1/2.
    assert abs(disc.mean().item() - 2 / 3) < 0.02


def test_the_start_is_where_the_attack_begins(batch: tuple[Tensor, Tensor]) -> None:
    images, labels = batch
    tiny = Attack(steps=1, step=Fraction(1, 10**6))
    start = random_start(images, LINF, torch.Generator())
    attacked = perturb(small_network(), images, labels, LINF, tiny, start)
    assert torch.allclose(attacked, (images + start).clamp(0, 1), atol=1e-6)


def test_cross_entropy_is_summed() -> None:
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    assert torch.allclose(cross_entropy(logits, labels), 5 * F.cross_entropy(logits, labels))
