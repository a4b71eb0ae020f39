"""What is seen of a model from outside: what forward hooks see of a run, what a caller could notice, CPU seconds."""

from __future__ import annotations

import gc
import hashlib
import math
import operator
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reconfig.planning.outputs import Outputs
from reconfig.trace.leaves import leaves


@dataclass(frozen=True)
class Convolution:
    """A convolution module as a forward hook saw it; ``out`` are the channels that it returned."""

    weight: tuple[int, ...]
    groups: int
    out: int
    positions: tuple[int, ...]

    @property
    def depthwise(self) -> bool:
        """Whether its channels are its input's own: one of each, several of each, or each of a few neighbours."""
        return self.groups > 1 and (self.groups == self.out or self.weight[1] == 1)


@dataclass(frozen=True)
class Sight:
    """One forward pass, seen from outside.

    ``order`` has every module path in the order in which the calls returned, ``shapes`` what each returned last.
    ``weights`` are the shapes of those of convolutions and linear maps. ``divisors`` are what widths may have to be
    multiples of: groups, heads, halves, thirds and quarters, or two of these at once.
    """

    outputs: tuple[tuple[int, ...], ...]
    divisors: frozenset[int]
    convolutions: Mapping[str, Convolution]
    weights: Mapping[str, tuple[int, ...]]
    shapes: Mapping[str, tuple[int, ...]]
    order: Sequence[str]
    finite: bool

    @property
    def channels(self) -> frozenset[int]:
        """Classes, or channels of images and maps, that the outputs have."""
        return frozenset(shape[1] for shape in self.outputs if len(shape) > 1)

    def is_output(self, convolution: Convolution) -> bool:
        """Whether it makes as many channels as an output has, or as many numbers: pixels are shuffled channels."""
        made = convolution.out * math.prod(convolution.positions)
        return convolution.out in self.channels or made in {math.prod(shape[1:]) for shape in self.outputs}


def look(model: nn.Module, images: Tensor) -> Sight:
    """Run ``model`` in eval mode under hooks; its own modes are put back."""
    convolutions: dict[str, Convolution] = {}
    weights: dict[str, tuple[int, ...]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    order: list[str] = []

    def watch(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            order.append(path)
            if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
                weights[path] = tuple(module.weight.shape)
            if isinstance(output, Tensor):
                shapes[path] = tuple(output.shape)
                if isinstance(module, nn.modules.conv._ConvNd):
                    positions = tuple(output.shape[output.dim() - len(module.kernel_size) :])
                    channels = output.shape[-len(positions) - 1]
                    convolutions[path] = Convolution(tuple(module.weight.shape), module.groups, channels, positions)

        return hook

    modes = {module: module.training for module in model.modules()}
    handles = [module.register_forward_hook(watch(path)) for path, module in model.named_modules()]
    try:
        with torch.no_grad():
            returned = model.eval()(images)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    outputs = list(leaves(returned, Tensor))
    # How many objects a detector finds, image by image, depends on its weights.
    found = 1 if isinstance(returned, list) and all(isinstance(item, dict) for item in returned) else 0
    return Sight(
        outputs=tuple(tuple(output.shape[found:]) for output in outputs),
        divisors=divisors_of(model),
        convolutions=convolutions,
        weights=weights,
        shapes=shapes,
        order=order,
        finite=all(bool(output.isfinite().all()) for output in outputs),
    )


def same_outputs(before: Sight, after: Sight, outputs: Outputs) -> bool:
    """Whether two sights returned tensors of the same shapes; but for the channels, where feature maps may scale."""
    if outputs == "keep":
        return before.outputs == after.outputs
    pairs = list(zip(before.outputs, after.outputs, strict=False))
    same = len(before.outputs) == len(after.outputs) and all(len(old) == len(new) for old, new in pairs)
    return same and all(sum(map(operator.ne, old, new)) <= 1 and old[:1] == new[:1] for old, new in pairs)


def divisors_of(model: nn.Module) -> frozenset[int]:
    """Numbers of groups and heads in ``model``, channels of a group, and 2 to 4 for halves, thirds and quarters.

    With their least common multiples, two by two: heads over groups.
    """
    names = ("groups", "num_groups", "num_heads", "heads")
    kept = [getattr(module, name, 1) for module in model.modules() for name in names]
    grouped = (module for module in model.modules() if isinstance(module, nn.modules.conv._ConvNd))
    kept += [module.in_channels // module.groups for module in grouped if module.groups > 1]
    norms = (module for module in model.modules() if isinstance(module, nn.GroupNorm))
    kept += [norm.num_channels // norm.num_groups for norm in norms if norm.num_groups > 1]
    single = {2, 3, 4} | {number for number in kept if isinstance(number, int) and number > 1}
    return frozenset(single | {math.lcm(*pair) for pair in combinations(single, 2)})


def fingerprint(model: nn.Module) -> tuple[Any, ...]:
    """What a caller could notice of a change: tensors bitwise, modes, gradients, hooks, attributes, random states."""
    digest = hashlib.blake2b()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(memoryview(tensor.detach().contiguous().flatten().view(torch.uint8).numpy()))
    states = [
        (module.training, len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()
    ]
    gradients = [(parameter.requires_grad, parameter.grad is None) for parameter in model.parameters()]
    randomness = (torch.get_rng_state().numpy().tobytes(), random.getstate(), str(np.random.get_state()))
    return digest.hexdigest(), states, gradients, repr(model), randomness


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds (all runs have one thread, and other processes do not count), and the result.

    What was left behind before is collected first: a full collection takes as long as many a call, and would fall into
    some of them by chance.
    """
    gc.collect()
    began = time.process_time()
    result = call()
    return time.process_time() - began, result
