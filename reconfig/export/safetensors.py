"""A network as a safetensors file with its plan."""

from __future__ import annotations

import os

from torch import nn

from reconfig.export.inputs import inputs_of
from reconfig.export.paths import in_folder
from reconfig.export.written import Written
from reconfig.planning.make import Example
from reconfig.planning.plan import Plan
from reconfig.saving import save


def to_safetensors(
    model: nn.Module,
    path: str | os.PathLike[str],
    plan: Plan | None = None,
    *,
    example_input: Example | None = None,
) -> Written:
    """``reconfig.save`` with the checks of the other formats: the ending of ``path`` (.safetensors), and its folder.

    Raises:
        ExportError: where the network is not of the plan's shapes, or the file cannot be written.
        ModelError, InputError: where the model or its input cannot be worked with.
    """
    file = in_folder(path, (".safetensors",), "network.safetensors")
    takes = tuple(str(shape) for shape in inputs_of(model, example_input, plan).shapes)
    save(model, file, plan)
    return Written((file,), takes)
