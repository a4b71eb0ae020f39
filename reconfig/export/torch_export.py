"""A network as a program of torch.export, in a .pt2 file."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from reconfig.export.inputs import inputs_of
from reconfig.export.paths import in_folder
from reconfig.export.programs import program, quiet
from reconfig.export.written import Written
from reconfig.planning.make import Example
from reconfig.planning.plan import Plan
from reconfig.trace.leaves import leaves
from reconfig.writing import whole


def to_torch_export(
    model: nn.Module,
    path: str | os.PathLike[str],
    plan: Plan | None = None,
    *,
    example_input: Example | None = None,
) -> Written:
    """Write ``model`` in eval mode for ``torch.export.load(path).module()``, with any number of examples.

    Args:
        model: the network, trained or not, as ``plan.apply`` returned it.
        path: the file, which ends in .pt2; one that exists is replaced.
        plan: what made ``model``; it says what the network is run on.
        example_input: what ``model`` takes, where neither the plan nor the usual sizes say it.

    Raises:
        ExportError: where torch.export cannot capture the network, what it captured gives other numbers, or the file
            cannot be written.
        ModelError, InputError: where the model or its input cannot be worked with.
    """
    file = in_folder(path, (".pt2",), "network.pt2")
    made = program(model, inputs_of(model, example_input, plan))
    with quiet(), torch.no_grad():
        made.compare(tuple(leaves(made.exported.module()(*made.tried), Tensor)), "what torch.export captured")
        with whole(file) as unfinished:
            torch.export.save(made.exported, unfinished)
    return Written((file,), made.takes)
