"""How steep a network is: the empirical Lipschitz constant and its upper bound.

After Huang et al. (2021), section 4.5 and section 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import reconfig
from reconfig.harness.attacks.engine import Step, climb, frozen
from reconfig.harness.experiment import Attack, Threat

NETWORK = ""
"""The name of the whole network among its modules; its output are the logits."""


# -- empirical (eq. 3) -------------------------------------------------------------------------------------------------


def functions(stages: reconfig.Stages, model: nn.Module) -> tuple[str, ...]:
    """Module names of all blocks, first to last, then ``NETWORK``: the bins of the paper's Figure 5.

    A plain stage has no blocks; its layers take their place.
    """
    names = [name for stage in stages for name in stage.blocks or stage.layers]
    modules = dict(model.named_modules())
    return (*(name for name in dict.fromkeys(names) if name in modules), NETWORK)


def rates(model: nn.Module, names: Sequence[str], images: Tensor, adversarial: Tensor) -> dict[str, Tensor]:
    """The quotient of eq. 3 for each image: ‖f(x) − f(x')‖₁ / ‖x − x'‖∞, [N] for each module in ``names``.

    f is the function from the images to the output of the module. An image that was not moved has the rate 0.
    """
    with torch.no_grad(), frozen(model), _outputs(model, names) as seen:
        model(images)
        clean = dict(seen)
        model(adversarial)
    moved = (adversarial - images).abs().flatten(1).amax(1).clamp_min(1e-12)
    return {name: _distance(seen[name], clean[name]) / moved for name in names}


def steepest(
    model: nn.Module,
    name: str,
    images: Tensor,
    threat: Threat,
    attack: Attack,
    start: Tensor,
) -> Tensor:
    """Images in the ball around ``images`` that make the numerator of eq. 3 for module ``name`` large.

    Projected gradient ascent on the numerator itself, after Yang et al. (2020), whom the paper follows; it needs a
    start other than zero, where the numerator has no slope.
    """
    function = _Function(model, name)
    with torch.no_grad(), frozen(function):
        clean = function(images)
    steps = [Step(float(attack.step), partial(_summed_distance, clean=clean))] * attack.steps
    return climb(function, images, torch.empty(0), threat, steps, start)


class _Function(nn.Module):
    """The network up to the output of one of its modules."""

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, images: Tensor) -> Tensor:
        with _outputs(self.model, [self.name]) as seen:
            self.model(images)
        return seen[self.name]


@contextmanager
def _outputs(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """What modules return while this is open; of a module that runs several times, the last."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        first = output if isinstance(output, Tensor) else output[0]
        seen[name] = first.clone()  # the next layer may work in place

    with ExitStack() as hooks:
        for name in names:
            handle = model.get_submodule(name).register_forward_hook(partial(keep, name))
            hooks.callback(handle.remove)
        yield seen


def _distance(output: Tensor, clean: Tensor) -> Tensor:
    return (output.float() - clean.float()).abs().flatten(1).sum(1)


def _summed_distance(output: Tensor, _labels: Tensor, clean: Tensor) -> Tensor:
    return _distance(output, clean).sum()


# -- upper bound (Theorems 1 and 2) ------------------------------------------------------------------------------------


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
        self._running = [NETWORK]

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
