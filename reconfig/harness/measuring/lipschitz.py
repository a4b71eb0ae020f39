"""How steep a network is on images: the empirical Lipschitz constant (Huang et al., 2021, section 4.5, eq. 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import reconfig
from reconfig.harness.attacks.engine import Step, climb, frozen
from reconfig.harness.experiment import Attack, Threat

NETWORK = ""
"""The name of the whole network among its modules; its output are the logits."""


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
    return (output - clean).abs().flatten(1).sum(1)


def _summed_distance(output: Tensor, _labels: Tensor, clean: Tensor) -> Tensor:
    return _distance(output, clean).sum()
