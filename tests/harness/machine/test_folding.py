"""Folded networks answer as their own forward does, and fold nothing that something else reads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reconfig import zoo
from reconfig.harness.attacks.engine import frozen
from reconfig.harness.machine.folding import Folded, foldable


class Read(nn.Module):
    """A convolution and its batch norm, and what becomes of them."""

    def __init__(self, then: Callable[[Tensor, nn.Module], Tensor]) -> None:
        super().__init__()
        self.conv, self.norm, self.then = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), then
        self.both = False

    def forward(self, images: Tensor) -> Tensor:
        found = self.then(self.conv(images), self)
        return found.mean((2, 3))


def moved(model: nn.Module) -> nn.Module:
    """``model`` with batch norms that are not the identity."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
    return model.eval()


def answer(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of their squares."""
    images = images.clone().requires_grad_()
    with frozen(network):
        logits = network(images)
        (gradient,) = torch.autograd.grad(logits.square().sum(), images)
    return logits.detach(), gradient


def agree(network: nn.Module, model: nn.Module, images: Tensor) -> None:
    for found, expected in zip(answer(network, images), answer(model, images), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


def wide() -> nn.Module:
    """With a convolution that tiles are for."""
    stem = [nn.Conv2d(3, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(inplace=True)]
    block = [nn.Conv2d(128, 128, 3, padding=1, bias=False), nn.BatchNorm2d(128), nn.ReLU(inplace=True)]
    return nn.Sequential(*stem, *block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 3))


@pytest.mark.parametrize(("factory", "count", "scaled"), [(wide, 2, 0), (lambda: zoo.wrn(10, 1, 3), 3, 4)])
@pytest.mark.parametrize("layout", [None, torch.channels_last])
def test_it_answers_as_the_network_does(
    factory: Callable[[], nn.Module], count: int, scaled: int, layout: torch.memory_format | None
) -> None:
    model, images = moved(factory()), torch.rand(2, 3, 16, 16)
    folded = Folded(model, images[:1], layout, tiles=layout is not None)
    assert len(folded.norms) == count
    with folded.fixed():
        agree(folded, model, images)
        tiled = sum(made.kernel is not None for made in folded._made.values())
        assert len(folded._scales) == scaled
    # Each has one 3x3 convolution that is wide enough and has a stride of 1.
    assert tiled == (layout is not None)


@pytest.mark.parametrize("folds", [True, False])
def test_weights_are_folded_anew_each_time_and_once_within(folds: bool) -> None:
    model, images = moved(Read(lambda made, own: F.relu(own.norm(made if folds else made + 1)))), torch.rand(2, 3, 8, 8)
    folded = Folded(model, images)
    held = folded._made if folds else folded._scales
    for _ in range(2):
        with torch.no_grad():
            model.conv.weight.mul_(2)
            model.norm.running_mean.add_(1)
        with folded.fixed():
            agree(folded, model, images)
            first = next(iter(held.values()))
            agree(folded, model, images)
            assert [id(each) for each in held.values()] == [id(first)]
    assert not held


def test_a_batch_norm_whose_numbers_want_gradients_or_change_stays_torchs_or_is_made_anew() -> None:
    """Those that an image makes, as in a conditional batch norm, and two norms over one running mean."""

    def conditional(made: Tensor, own: nn.Module) -> Tensor:
        weight = made.mean((0, 2, 3))
        return F.batch_norm(made + 1, own.norm.running_mean, own.norm.running_var, weight, own.norm.bias)

    def two(made: Tensor, own: nn.Module) -> Tensor:
        other = F.batch_norm(made + 2, own.norm.running_mean, own.norm.running_var, own.norm.bias, own.norm.weight)
        return own.norm(made + 1) + other

    for then in (conditional, two):
        model, images = moved(Read(then)), torch.rand(2, 3, 8, 8)
        folded = Folded(model, images)
        with folded.fixed():
            agree(folded, model, images)
            agree(folded, model, images)


@pytest.mark.parametrize(
    "then",
    [
        lambda made, own: own.norm(made) + made,
        lambda made, own: own.norm(made + 1),
        lambda made, own: own.norm(made) + own.norm(made),
        lambda made, own: F.batch_norm(made, None, None, training=True),
        lambda made, own: made,
    ],
)
def test_what_something_else_reads_is_not_folded(then: Callable[[Tensor, nn.Module], Tensor]) -> None:
    model, images = moved(Read(then)), torch.rand(2, 3, 8, 8)
    assert not foldable(model, images)
    agree(Folded(model, images), model, images)


def test_a_forward_that_reads_otherwise_than_the_first_is_the_networks_own() -> None:
    def after(made: Tensor, own: nn.Module) -> Tensor:
        normal = own.norm(made)
        return normal + made if own.both else normal

    def before(made: Tensor, own: nn.Module) -> Tensor:
        return made.relu() if own.both else own.norm(made)

    for then in (after, before):
        model, images = moved(Read(then)), torch.rand(2, 3, 8, 8)
        folded = Folded(model, images)
        assert folded.norms
        for model.both in (False, True, False):
            with folded.fixed():
                agree(folded, model, images)


def test_a_batch_norm_that_reads_a_second_time_has_the_network_run_as_it_is() -> None:
    def then(made: Tensor, own: nn.Module) -> Tensor:
        first = F.relu(own.norm(made), inplace=True)
        return first + own.norm(made) if own.both else first

    model, images = moved(Read(then)), torch.rand(2, 3, 8, 8)
    folded = Folded(model, images)
    assert len(folded.norms) == 1
    for both in (False, True):
        model.both = both
        agree(folded, model, images)


def test_what_a_batch_norm_returns_is_no_view() -> None:
    """Autograd copies each gradient of a view that changes in place, as in-place activations do, in another layout."""
    seen: list[Tensor] = []

    def then(made: Tensor, own: nn.Module) -> Tensor:
        seen.append(own.norm(made))
        return F.relu(seen[-1], inplace=True)

    model, images = moved(Read(then)), torch.rand(2, 3, 8, 8)
    folded = Folded(model, images)
    answer(folded, images)
    _, normed = seen  # a third would be of the network's own forward
    assert not normed._is_view()


def test_sizes_may_be_asked_for() -> None:
    def then(made: Tensor, own: nn.Module) -> Tensor:
        assert made.shape[1] == made.size(1) == 4
        return own.norm(made)

    assert foldable(moved(Read(then)), torch.rand(2, 3, 8, 8))


def test_a_convolution_used_twice_is_folded_where_both_go_into_one_batch_norm() -> None:
    def same(made: Tensor, own: nn.Module) -> Tensor:
        return own.norm(made) + own.norm(own.conv(torch.ones(2, 3, 8, 8)))

    def other(made: Tensor, own: nn.Module) -> Tensor:
        return own.norm(made) + own.conv(torch.ones(2, 3, 8, 8))

    images = torch.rand(2, 3, 8, 8)
    assert foldable(moved(Read(same)), images)
    assert not foldable(moved(Read(other)), images)
    for then in (same, other):
        model = moved(Read(then))
        agree(Folded(model, images), model, images)


def test_the_network_comes_back_as_it_was() -> None:
    model = wide()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    foldable(model, torch.rand(1, 3, 8, 8))
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
