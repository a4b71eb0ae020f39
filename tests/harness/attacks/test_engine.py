from __future__ import annotations

import copy
from collections.abc import Callable
from fractions import Fraction
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from helpers import small_digits
from torch import Tensor, nn

from reconfig.harness.attacks.balls import corner_start, random_start
from reconfig.harness.attacks.engine import Step, climb, frozen
from reconfig.harness.attacks.gradient import ATTACKS, FGSM, PGD20, gama, perturb
from reconfig.harness.attacks.losses import batch_margin, cross_entropy, guided_margin, margin
from reconfig.harness.experiment import Attack, Threat
from reconfig.harness.training.methods import near

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
@pytest.mark.parametrize("draw", [random_start, corner_start, near])
def test_starts_do_not_depend_on_the_memory_layout(draw: Callable[..., Tensor], threat: Threat) -> None:
    images = torch.rand(4, 3, 8, 8)
    turned = images.contiguous(memory_format=torch.channels_last)
    plain, same = (draw(held, threat, torch.Generator().manual_seed(1)) for held in (images, turned))
    assert torch.equal(plain, same)
    assert plain.is_contiguous()
    assert same.is_contiguous(memory_format=torch.channels_last)


def test_what_attacks_climb_needs_no_value_on_the_host() -> None:
    logits, labels = torch.empty(4, 10, device="meta", requires_grad=True), torch.empty(4, device="meta").long()
    clean = torch.empty(4, 10, device="meta")
    for loss in (cross_entropy, margin, batch_margin, partial(guided_margin, clean=clean, weight=2.0)):
        value = loss(logits, labels)  # a mask that chooses elements would have to be read: a CUDA graph cannot
        assert torch.autograd.grad(value, logits)[0].shape == logits.shape


def test_a_network_may_be_attacked_in_training_mode(batch: tuple[Tensor, Tensor]) -> None:
    model, seen = small_network().eval(), []
    model[0].register_forward_pre_hook(lambda *_: seen.append((model.training, model[0].weight.requires_grad)))
    perturb(model, *batch, LINF, PGD, training=True)
    assert seen == [(True, False)] * PGD.steps
    assert not model.training
    assert model[1].num_batches_tracked == PGD.steps


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


def test_margin_is_the_best_wrong_logit_over_the_right_one() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.0], [0.0, -1.0, 5.0]])
    assert margin(logits, torch.tensor([0, 2])) == (4 - 1) + (0 - 5)


def test_guided_margin_is_the_margin_of_probabilities_and_their_distance_to_the_clean_ones() -> None:
    logits, labels = torch.randn(2, 3).double(), torch.tensor([2, 0])
    clean = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]).double()
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    margins = max(p[0, 0], p[0, 1]) - p[0, 2] + max(p[1, 1], p[1, 2]) - p[1, 0]
    assert torch.allclose(guided_margin(logits, labels, clean, 7.0), margins + 7 * ((p - clean) ** 2).sum())


@pytest.mark.parametrize("threat", [LINF, L2], ids=lambda threat: threat.norm)
def test_corner_starts_have_one_length_and_both_signs(threat: Threat) -> None:
    images = torch.rand(5, 3, 8, 8)
    start = corner_start(images, threat, torch.Generator())
    magnitude = float(threat.eps) / (1 if threat.norm == "linf" else images[0].numel() ** 0.5)
    assert torch.allclose(start.abs(), torch.tensor(magnitude))
    assert 0.4 < (start > 0).float().mean() < 0.6


def test_each_step_has_its_size_and_loss() -> None:
    # The first step climbs the margin of class 1, the second, half as large, descends it.
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    model[1].weight.data = torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    image, threat = torch.full((1, 2, 1, 1), 0.5), Threat("linf", Fraction(1, 4))
    steps = [Step(0.5, margin), Step(0.25, lambda logits, labels: -margin(logits, labels))]
    moved = [climb(model, image, torch.tensor([0]), threat, steps[:count]) - image for count in (1, 2)]
    assert torch.allclose(moved[0].flatten(), torch.tensor([0.125, -0.125]))
    assert torch.allclose(moved[1].flatten(), torch.tensor([0.0625, -0.0625]))


@pytest.mark.parametrize("threat", [small_digits.THREAT, Threat("l2", Fraction(1))], ids=lambda threat: threat.norm)
@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_stays_in_the_ball_and_deceives(name: str, threat: Threat) -> None:
    model, (images, labels) = small_digits.network(), small_digits.test_images()
    images, labels = images[:100], labels[:100]
    adversary = ATTACKS[name]
    start = adversary.start and adversary.start(images, threat, torch.Generator())
    attacked = adversary.craft(model, images, labels, threat, start=start)
    offset = attacked - images
    reach = lengths(offset) if threat.norm == "l2" else offset.abs().amax((1, 2, 3))
    assert float(threat.eps) * 0.5 < reach.max() <= float(threat.eps) + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert robust(model, attacked, labels) < robust(model, images, labels)


# -- other people's code, and the papers' words ------------------------------------------------------------------------


def robust(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Accuracy in %."""
    with torch.no_grad():
        return 100 * (model(images).argmax(1) == labels).float().mean().item()


@pytest.mark.parametrize(("attack", "steps"), [(FGSM, 1), (PGD20, 20)], ids=["fgsm", "pgd20"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what torchattacks imports
def test_adversarial_images_are_those_of_torchattacks_and_foolbox(attack: Attack, steps: int) -> None:
    import foolbox
    import torchattacks

    model, (images, labels), threat = small_digits.network(), small_digits.test_images(), small_digits.THREAT
    eps, step = float(threat.eps), float(attack.step)
    ours = perturb(model, images, labels, threat, attack)
    if steps == 1:
        theirs = torchattacks.FGSM(model, eps=eps)(images, labels)
    else:
        theirs = torchattacks.PGD(model, eps=eps, alpha=step * eps, steps=steps, random_start=False)(images, labels)
    assert (ours - theirs).abs().max() <= 1e-6
    peer = foolbox.attacks.LinfPGD(rel_stepsize=step, steps=steps, random_start=False)
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    _, theirs, _ = peer(bounded, images, foolbox.criteria.Misclassification(labels), epsilons=eps)
    assert (ours - theirs).abs().max() <= 1e-6


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_l2_adversarial_images_are_those_of_torchattacks() -> None:
    import torchattacks

    model, (images, labels) = copy.deepcopy(small_digits.network()).double(), small_digits.test_images()
    threat = Threat("l2", Fraction(1))
    ours = perturb(model, images.double(), labels, threat, PGD20)
    peer = torchattacks.PGDL2(model, eps=1.0, alpha=0.1, steps=20, random_start=False, eps_for_division=1e-30)
    assert (ours - peer(images.double(), labels)).abs().max() <= 1e-6


def direct_cw(model: nn.Module, images: Tensor, labels: Tensor, eps: float, start: Tensor) -> Tensor:
    """Carlini and Wagner (2017), f6 of section V, maximised by 20 signed steps of eps/10, image by image."""
    attacked = []
    for image, label, offset in zip(images, labels.tolist(), start, strict=True):
        x = (image + offset).clamp(0, 1)
        for _ in range(20):
            x = x.clone().requires_grad_()
            logits = model(x[None])[0]
            wrong = max(logits[i] for i in range(10) if i != label)
            (wrong - logits[label]).backward()
            x = x.detach() + eps / 10 * x.grad.sign()
            x = torch.minimum(torch.maximum(x, image - eps), image + eps).clamp(0, 1)
        attacked.append(x)
    return torch.stack(attacked)


def direct_gama(model: nn.Module, images: Tensor, labels: Tensor, eps: float, start: Tensor) -> Tensor:
    """Sriramanan et al. (2020), algorithm 1, with its published settings, on the whole batch."""
    clean = torch.softmax(model(images), 1).detach()
    delta, size, weight = start.clone(), 2 * eps, 50.0
    for iteration in range(100):
        if iteration in (60, 85):
            size /= 10
        delta.requires_grad_()
        probabilities = torch.softmax(model(images + delta), 1)
        loss = 0
        for p, q, label in zip(probabilities, clean, labels.tolist(), strict=True):
            others = torch.cat([p[:label], p[label + 1 :]])
            loss = loss + others.max() - p[label] + weight * torch.sum((p - q) ** 2)
        (gradient,) = torch.autograd.grad(loss, delta)
        delta = (delta.detach() + size * torch.sign(gradient)).clamp(-eps, eps)
        delta = (images + delta).clamp(0, 1) - images
        weight = max(0.0, weight - 50 / 25)
    return images + delta


@pytest.mark.parametrize(("name", "direct"), [("cw", direct_cw), ("gama100", direct_gama)])
def test_robust_accuracy_is_that_of_a_direct_implementation(name: str, direct: object) -> None:
    model, (images, labels), threat = small_digits.network(), small_digits.test_images(), small_digits.THREAT
    images, labels = images[:200], labels[:200]
    adversary = ATTACKS[name]
    start = adversary.start(images, threat, torch.Generator().manual_seed(3))
    if name == "gama100":  # the engine clamps a start to [0, 1] as its first act
        start = (images + start).clamp(0, 1) - images
    ours = adversary.craft(model, images, labels, threat, start=start)
    theirs = direct(model, images, labels, float(threat.eps), start)
    assert robust(model, images, labels) - robust(model, ours, labels) > 10
    assert abs(robust(model, ours, labels) - robust(model, theirs, labels)) <= 0.5


def test_gama_takes_its_weights_and_sizes_from_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("reconfig.harness.attacks.gradient.climb", lambda *args: seen.extend(args[4]))
    gama(small_digits.network(), torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), LINF)
    weights = [step.loss.keywords["weight"] for step in seen]
    assert weights == pytest.approx([*range(50, 0, -2)] + [0] * 75)
    sizes = [round(step.size, 9) for step in seen]
    assert sizes == [2.0] * 60 + [0.2] * 25 + [0.02] * 15
