"""The upper bound of a network's expected Lipschitz constant (Huang et al., 2021, section 3, Theorems 1 and 2)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import reconfig
from reconfig.harness.attacks.engine import frozen


@dataclass(frozen=True)
class LayerBound:
    """The natural logarithm of one layer's factor in Theorem 2."""

    path: str
    """The module that ran the layer."""
    stage: int | None
    """Its stage, 1 for the first; None for stem and head."""
    log: float


@dataclass(frozen=True)
class Bound:
    """The upper bound of the expected Lipschitz constant, by layer, as natural logarithms.

    The product over a deep network leaves the range of floats; its logarithm is a sum.
    """

    layers: tuple[LayerBound, ...]

    @property
    def network(self) -> float:
        """Of all layers together."""
        return sum(layer.log for layer in self.layers)

    @property
    def stages(self) -> dict[int, float]:
        """Of the layers of each stage."""
        numbers = sorted({layer.stage for layer in self.layers if layer.stage is not None})
        return {number: sum(layer.log for layer in self.layers if layer.stage == number) for number in numbers}


def lipschitz_bound(model: nn.Module, images: Tensor, stages: reconfig.Stages) -> Bound:
    """Theorem 2 for every convolution and linear layer that ``model`` runs on ``images`` ([N, C, H, W]) in eval mode.

    A layer's factor is (√inputs + √outputs) σ: the numbers of values that it takes and makes for one image, and the
    standard deviation of its weights. For a k x k convolution of an m x m map without padding and stride that is the
    theorem's (m √W + (m − k + 1) √W') σ, and for a linear layer Theorem 1; with padding and stride the numbers are
    those of the maps as they are. Groups are matrices side by side, so one group's numbers count. The theorem speaks
    of layers in a row: branches and skips count as if they were in one.
    """
    by_path = {path: stage.index for stage in stages for path in stage.layers}
    seen = _Layers()
    with torch.no_grad(), frozen(model), seen.paths_of(model), seen:
        model(images[:1])
    return Bound(tuple(LayerBound(path, by_path.get(path), log) for path, log in seen.logs))


_CONVOLUTIONS = {F.conv1d, F.conv2d, F.conv3d}
_TRANSPOSED = {F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d}


class _Layers(TorchFunctionMode):
    """Records the logarithm of the bound of every layer that runs, with weights as computed (standardised ones)."""

    def __init__(self) -> None:
        super().__init__()
        self.logs: list[tuple[str, float]] = []
        self._running = [""]  # outside of any module

    @contextmanager
    def paths_of(self, model: nn.Module) -> Iterator[None]:
        """While this is open, layers are recorded under the name of the module of ``model`` that runs them."""
        with ExitStack() as hooks:
            for path, module in model.named_modules():
                for handle in (
                    module.register_forward_pre_hook(partial(self._begin, path)),
                    module.register_forward_hook(self._end),
                ):
                    hooks.callback(handle.remove)
            yield

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func in _CONVOLUTIONS or func in _TRANSPOSED or func is F.linear:
            self._record(func, output, *args, **kwargs)
        return output

    def _begin(self, path: str, *_: Any) -> None:
        self._running.append(path)

    def _end(self, *_: Any) -> None:
        self._running.pop()

    def _record(self, func: Any, output: Tensor, input: Tensor, weight: Tensor, *_: Any, **__: Any) -> None:
        channel = input.dim() - weight.dim() + 1
        groups = 1
        if func in _CONVOLUTIONS:
            groups = input.shape[channel] // weight.shape[1]
        elif func in _TRANSPOSED:
            groups = output.shape[channel] // weight.shape[1]
        sizes = math.sqrt(input.numel() / groups) + math.sqrt(output.numel() / groups)
        sigma = weight.float().std(correction=0).item()
        self.logs.append((self._running[-1], math.log(sizes * sigma) if sigma > 0 else -math.inf))
