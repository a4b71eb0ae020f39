from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import reconfig
from reconfig import zoo
from reconfig.harness.attacks.balls import random_start
from reconfig.harness.attacks.gradient import PGD20
from reconfig.harness.experiment import Attack, Threat
from reconfig.harness.measuring.lipschitz import NETWORK, functions, rates, steepest
from reconfig.harness.measuring.lipschitz_bound import lipschitz_bound

THREAT = Threat("linf", Fraction(1, 10))


def linear_map(matrix: Tensor) -> nn.Sequential:
    """The map from images [1, 2, 2] that multiplies their four values by ``matrix``."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, len(matrix), bias=False))
    model[1].weight.data = matrix
    return model


class Block(nn.Module):
    """Two convolutions with a skip around them; the block after it works in place on what it returns."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        images = F.relu(images, inplace=True)
        return images + self.conv2(F.relu(self.conv1(images)))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.blocks = nn.Sequential(Block(4), Block(4))
        self.fc = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(images)).mean((2, 3)))


# -- empirical Lipschitz constant --------------------------------------------------------------------------------------


def constant(matrix: Tensor) -> float:
    """The largest ‖Md‖₁ / ‖d‖∞: a convex function over a cube, so it is attained at one of the corners."""
    corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=matrix.shape[1])))
    return (corners @ matrix.T).abs().sum(1).max().item()


def test_rate_is_the_l1_distance_of_outputs_over_the_linf_distance_of_images() -> None:
    matrix = torch.tensor([[1.0, -2.0, 3.0, 0.0], [0.5, 0.0, 0.0, -1.0]])
    images = torch.full((2, 1, 2, 2), 0.5)
    offsets = torch.tensor([[0.1, 0.0, -0.2, 0.0], [0.0, 0.0, 0.0, 0.3]]).view(2, 1, 2, 2)
    found = rates(linear_map(matrix), [NETWORK], images, images + offsets)[NETWORK]
    # (|0.1 - 0.6| + |0.05|) / 0.2 and |-0.3| / 0.3
    assert torch.allclose(found, torch.tensor([2.75, 1.0]))


def test_an_image_that_was_not_moved_has_the_rate_zero() -> None:
    images = torch.rand(3, 1, 2, 2)
    assert torch.equal(rates(linear_map(torch.rand(2, 4)), [NETWORK], images, images)[NETWORK], torch.zeros(3))


@pytest.mark.parametrize(
    "matrix",
    [
        [[1.0, -2.0, 3.0, 0.5]],
        [[1.0, 2.0, 0.0, 1.0], [3.0, 1.0, 2.0, 0.0]],
        [[2.0, -1.0, 0.0, 1.0], [1.0, 1.0, -1.0, 0.0], [0.0, 0.5, 2.0, 1.0]],
    ],
)
def test_the_steepest_direction_attains_the_constant_of_a_linear_map(matrix: list[list[float]]) -> None:
    known = torch.tensor(matrix)
    model, images = linear_map(known), torch.full((64, 1, 2, 2), 0.5)
    start = random_start(images, THREAT, torch.Generator().manual_seed(0))
    adversarial = steepest(model, NETWORK, images, THREAT, PGD20, start)
    found = rates(model, [NETWORK], images, adversarial)[NETWORK]
    assert found.max().item() == pytest.approx(constant(known), rel=1e-4)
    assert (found <= constant(known) * (1 + 1e-4)).all()
    # Some starts end in a corner that is only higher than its neighbours.
    assert (found > constant(known) * (1 - 1e-4)).float().mean() > 0.2


def test_the_steepest_direction_is_steeper_than_where_it_began() -> None:
    torch.manual_seed(0)
    model, images = Residual(), torch.rand(6, 3, 8, 8)
    start = random_start(images, THREAT, torch.Generator())
    for name in ("blocks.0", "blocks.1", NETWORK):
        adversarial = steepest(model, name, images, THREAT, Attack(steps=10, step=Fraction(1, 4)), start)
        assert (adversarial - images).abs().max() <= 0.1 + 1e-6
        before, after = (rates(model, [name], images, x)[name] for x in ((images + start).clamp(0, 1), adversarial))
        assert (after > before).all()


def test_each_block_is_a_function_from_the_images_to_its_output() -> None:
    model, images = Residual(), torch.rand(5, 3, 8, 8)
    adversarial = (images + 0.1 * torch.randn_like(images).sign()).clamp(0, 1)
    found = rates(model, ["blocks.0", "blocks.1", NETWORK], images, adversarial)
    moved = (adversarial - images).abs().amax((1, 2, 3))
    for upto, name in ((1, "blocks.0"), (2, "blocks.1")):
        before, after = (model.blocks[:upto](model.stem(x)) for x in (images, adversarial))
        assert torch.allclose(found[name], (after - before).abs().sum((1, 2, 3)) / moved, rtol=1e-4)
    assert torch.allclose(found[NETWORK], (model(adversarial) - model(images)).abs().sum(1) / moved, rtol=1e-4)
    assert not any(module._forward_hooks for module in model.modules())


def test_functions_are_the_blocks_and_the_network() -> None:
    with torch.device("meta"):  # only names are needed, not 46 million weights
        model = zoo.wrn34_10()
    names = functions(reconfig.stages(model, torch.zeros(1, 3, 32, 32, device="meta")), model)
    assert len(names) == 16  # the bins of the paper's Figure 5
    assert names[-1] == NETWORK
    plain = zoo.vgg11()
    names = functions(reconfig.stages(plain, torch.zeros(1, 3, 32, 32)), plain)
    assert len(names) == 9  # eight convolutions
    assert all(isinstance(plain.get_submodule(name), nn.Conv2d) for name in names[:-1])


# -- Theorems 1 and 2 --------------------------------------------------------------------------------------------------


def spread(weight: Tensor, sigma: float) -> None:
    """Fill with plus and minus ``sigma`` in equal parts, whose standard deviation is ``sigma``."""
    flat = torch.full((weight.numel(),), sigma)
    flat[::2] = -sigma
    weight.data = flat.view_as(weight)


def test_bound_of_a_network_computed_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),  # 10x10 to 8x8
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3),  # 4x4 to 2x2
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 5),
    )
    sigmas = {0: 0.5, 3: 0.2, 6: 0.1}
    for index, sigma in sigmas.items():
        spread(model[index].weight, sigma)
    images = torch.rand(7, 3, 10, 10)
    bound = lipschitz_bound(model, images, reconfig.stages(model, images))
    # Theorem 2: (m √W + (m − k + 1) √W') σ, and Theorem 1 for the linear layer.
    first = (10 * math.sqrt(3) + (10 - 3 + 1) * math.sqrt(4)) * 0.5
    second = (4 * math.sqrt(4) + (4 - 3 + 1) * math.sqrt(6)) * 0.2
    third = (math.sqrt(24) + math.sqrt(5)) * 0.1
    assert [layer.path for layer in bound.layers] == ["0", "3", "6"]
    assert [layer.log for layer in bound.layers] == pytest.approx([math.log(x) for x in (first, second, third)])
    assert bound.network == pytest.approx(math.log(first * second * third))
    assert [layer.stage for layer in bound.layers] == [1, 2, None]
    assert bound.stages == pytest.approx({1: math.log(first), 2: math.log(second)})


def test_bound_takes_padding_stride_groups_and_transposition_as_they_are() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1, stride=2, groups=2),  # 8x8 to 4x4, in two halves of 2 and 4 channels
        nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2),  # 4x4 to 8x8, in two halves of 4 and 3 channels
    )
    for layer in model:
        spread(layer.weight, 0.3)
    bound = lipschitz_bound(model, torch.rand(1, 4, 8, 8), reconfig.stages(model, torch.zeros(1, 4, 8, 8)))
    expected = [
        (8 * math.sqrt(2) + 4 * math.sqrt(4)) * 0.3,
        (4 * math.sqrt(4) + 8 * math.sqrt(3)) * 0.3,
    ]
    assert [layer.log for layer in bound.layers] == pytest.approx([math.log(x) for x in expected])


def test_bound_holds_for_gaussian_layers() -> None:
    """It is above the largest singular value of a Gaussian matrix, and not far."""
    layer = nn.Conv2d(8, 8, 1, bias=False)  # each position alone, so the matrix is the kernel
    nn.init.normal_(layer.weight, std=0.4)
    model = nn.Sequential(layer)
    bound = lipschitz_bound(model, torch.rand(1, 8, 1, 1), reconfig.Stages(()))
    norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
    assert norm < math.exp(bound.network) < 2 * norm


def test_a_narrower_last_stage_has_a_lower_bound_and_the_others_keep_theirs() -> None:
    images = torch.rand(1, 3, 32, 32)
    model = zoo.vgg11()
    narrow = reconfig.apply(model, "10-10-4", example_input=images)
    for network in (model, narrow):
        for parameter in network.parameters():
            spread(parameter, 0.01)
    wide, slim = (lipschitz_bound(net, images, reconfig.stages(net, images)) for net in (model, narrow))
    assert len(wide.layers) == 9
    assert list(wide.stages) == [1, 2, 3, 4, 5]
    assert all(slim.stages[stage] == wide.stages[stage] for stage in range(1, 5))
    assert slim.stages[5] < wide.stages[5] - 0.3
    assert slim.network < wide.network


def test_the_network_is_left_without_hooks_in_its_modes() -> None:
    model, images = Residual().train(), torch.rand(2, 3, 8, 8)
    lipschitz_bound(model, images, reconfig.stages(model, images))
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
