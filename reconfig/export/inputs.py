"""What a network is exported on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reconfig.errors import ExportError
from reconfig.planning.make import Example
from reconfig.planning.plan import Plan
from reconfig.trace.example import check_model, probe


@dataclass(frozen=True)
class Inputs:
    """Shapes and dtypes of what a network takes, with a batch in front, and the device that its skeleton runs on."""

    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[torch.dtype, ...]
    device: str = "meta"

    def zeros(self, device: str) -> list[Tensor]:
        """Inputs of zeros."""
        return [torch.zeros(s, dtype=d, device=device) for s, d in zip(self.shapes, self.dtypes, strict=True)]

    def random(self, seed: int = 0) -> list[Tensor]:
        """Inputs on the CPU, in [0, 1) where they are no whole numbers; always the same."""
        generator = torch.Generator().manual_seed(seed)
        return [
            torch.rand(shape, generator=generator).to(dtype)
            if dtype.is_floating_point
            else torch.zeros(shape, dtype=dtype)
            for shape, dtype in zip(self.shapes, self.dtypes, strict=True)
        ]

    def with_batch(self, batch: int) -> Inputs:
        """The same with another number of examples."""
        return Inputs(tuple((batch, *shape[1:]) for shape in self.shapes), self.dtypes, self.device)


def inputs_of(model: nn.Module, example_input: Example | None, plan: Plan | None) -> Inputs:
    """What ``model`` is run on: the example, or what its plan was made on, or an input that is found to work.

    Raises:
        ModelError, InputError: the model or the example cannot be worked with.
        ExportError: the plan is no plan.
    """
    check_model(model)
    if plan is not None and not isinstance(plan, Plan):
        raise ExportError(f"plan is {type(plan).__name__}: pass what reconfig.plan(model, ...) returned, or None")
    if plan is not None and example_input is None:
        dtypes = tuple(getattr(torch, dtype) for _, dtype in plan.inputs)
        return Inputs(tuple(tuple(shape) for shape, _ in plan.inputs), dtypes, plan.device)
    found = probe(model, example_input).inputs
    return Inputs(tuple(tuple(t.shape) for t in found), tuple(t.dtype for t in found), found[0].device.type)
