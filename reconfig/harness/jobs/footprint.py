"""How much memory the networks of an experiment take, measured on skeletons of them, before images take the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from reconfig.harness.building import Shape, skeleton
from reconfig.harness.data.dataset import Dataset
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Setting
from reconfig.harness.jobs.network import plan_network
from reconfig.harness.network import Network

_PEAK = 2
"""What a step takes at its peak, in what its forward keeps for the backward: 1.2 to 1.9 were measured on a CPU."""
_COPIES = 5
"""Of the parameters: themselves, their gradient and momentum, a mean, and a perturbation."""


def needed(networks: Iterable[Network], setting: Setting) -> Callable[[int, Shape], int]:
    """For a number of classes and a size of images, the bytes that a training or an attack takes with the largest of
    ``networks``, by what its forward keeps of the largest batch.

    What it gives raises a ReconfigError where a network cannot be planned for the images.
    """

    def measure(classes: int, shape: Shape) -> int:
        nothing = Split(torch.empty(0, *shape, dtype=torch.uint8), torch.empty(0, dtype=torch.int64))
        images = max(setting.train.batch, setting.evaluate.batch)
        found = 0
        for network in networks:
            plan = plan_network(network, Dataset("", classes, nothing, nothing))
            model = plan.apply(skeleton(network.model, classes, shape))
            found = max(found, _PEAK * images * kept(model, shape) + _COPIES * _bytes(model))
        return found

    return measure


def kept(model: nn.Module, shape: Shape) -> int:
    """The bytes that a forward of ``model`` keeps for the backward, for each image, beside its parameters."""
    storages: dict[int, Any] = {}
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage
        return tensor

    first = next(model.parameters())
    images = torch.zeros(2, *shape, device=first.device, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        answers = model.train()(images)
    del answers
    return sum(storage.nbytes() for name, storage in storages.items() if name not in own) // len(images)


def _bytes(model: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in model.parameters())
