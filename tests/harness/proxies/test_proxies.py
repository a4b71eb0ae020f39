from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reconfig.harness.attacks.gradient import FGSM, perturb
from reconfig.harness.experiment import Threat
from reconfig.harness.proxies import croze as croze_module
from reconfig.harness.proxies.croze import croze
from reconfig.harness.proxies.gradients import gradient_norm, synflow
from reconfig.harness.proxies.table import PROXIES
from reconfig.harness.proxies.tangent_kernel import robust_kernel

THREAT = Threat()


def batch(count: int = 6) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 4, 4, generator=draws), torch.arange(count) % 3


def network(*layers: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    plain = layers or (nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    model = nn.Sequential(*plain)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.reset_parameters()
    return model


def linear() -> nn.Sequential:
    return network(nn.Flatten(), nn.Linear(48, 3, bias=False))


def test_the_gradient_norm_is_that_of_the_attacked_loss() -> None:
    model, (images, labels) = linear(), batch()
    attacked = perturb(model, images, labels, THREAT, FGSM)
    # dL/dW = (softmax - onehot)^T x / N
    errors = model(attacked).detach().softmax(1) - F.one_hot(labels, 3)
    expected = (errors.T @ attacked.flatten(1) / len(images)).norm()
    assert gradient_norm(model, images, labels, THREAT) == pytest.approx(float(expected), rel=1e-5)
    assert gradient_norm(model, images, labels, THREAT) != pytest.approx(
        gradient_norm(model, images, labels, Threat(eps=THREAT.eps * 8)), rel=1e-4
    )


def test_synaptic_flow_of_two_linear_layers_is_twice_what_flows() -> None:
    model, (images, labels) = network(nn.Flatten(), nn.Linear(48, 5, bias=False), nn.Linear(5, 3, bias=False)), batch()
    attacked = perturb(model, images, labels, THREAT, FGSM)
    _, first, second = model
    through = attacked.flatten(1).mean(0) @ first.weight.abs().T @ second.weight.abs().T
    # R is linear in each layer's weights, so the flow of each layer is R (Tanaka et al., 2020, theorem 1).
    2 * float(through.sum().detach())
    assert synflow(model, images, labels, THREAT) == pytest.approx(
        math.log(2 * float(through.sum().detach())), rel=1e-5
    )


def test_synaptic_flow_does_not_overflow_in_a_deep_network() -> None:
    deep = network(nn.Flatten(), *(nn.Linear(48, 48) for _ in range(60)), nn.Linear(48, 3))
    for module in deep[1:]:
        nn.init.constant_(module.weight, 2.0)
    assert 88 < synflow(deep, *batch(), THREAT) < math.inf  # more than float32 holds


def test_the_robust_kernel_of_a_linear_map_is_that_of_the_attacked_images() -> None:
    model, (images, labels) = linear(), batch()
    attacked = perturb(model, images, labels, THREAT, FGSM).flatten(1).double()
    # The gradient of the sum of the logits by each of the three rows of W is the image.
    smallest = torch.linalg.eigvalsh(3 * attacked @ attacked.T)[0]
    assert robust_kernel(model, images, labels, THREAT) == pytest.approx(float(smallest.log()), rel=1e-4)


def test_croze_of_a_network_that_nothing_changes_is_its_number_of_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(64, 3))
    same = croze(model, *batch(), Threat(eps=THREAT.eps / 10**6))
    assert same < 2  # the weights are moved all the same
    monkeypatch.setattr(croze_module, "_BETA", 0.0)
    assert croze(model, *batch(), Threat(eps=THREAT.eps / 10**6)) == pytest.approx(2, abs=1e-3)
    assert croze(model, *batch(), Threat(eps=THREAT.eps * 20)) < 1.99


def test_no_proxy_touches_the_network_or_depends_on_its_mode() -> None:
    model, (images, labels) = network().eval(), batch()
    before = deepcopy(model.state_dict())
    for name, proxy in PROXIES.items():
        value = proxy.compute(model, images, labels, THREAT)
        assert math.isfinite(value), name
        assert value == proxy.compute(deepcopy(model).train(), images, labels, THREAT), name
        assert not model.training
        assert all(torch.equal(before[key], held) for key, held in model.state_dict().items()), name
        assert all(parameter.grad is None for parameter in model.parameters()), name
        assert any(year in proxy.source for year in ("2020", "2021", "2023", "2024")), name
