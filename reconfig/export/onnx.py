"""A network as an ONNX file."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import torch
from torch import nn

from reconfig.errors import ExportError
from reconfig.export.inputs import inputs_of
from reconfig.export.paths import in_folder
from reconfig.export.programs import Program, first_line, program, quiet
from reconfig.export.written import Written
from reconfig.planning.make import Example
from reconfig.planning.plan import Plan
from reconfig.writing import whole

_NEEDED = ("onnx", "onnxscript")
_NOT_RUN = "not run: onnxruntime is not installed"
_MOST_BYTES = 2_000_000_000  # of a file of protocol buffers


def to_onnx(
    model: nn.Module,
    path: str | os.PathLike[str],
    plan: Plan | None = None,
    *,
    example_input: Example | None = None,
) -> Written:
    """Write ``model`` in eval mode as an ONNX file, with any number of examples.

    Where onnxruntime is installed it runs the file first, which has to give the network's numbers to 1e-4.

    Args:
        model: the network, trained or not, as ``plan.apply`` returned it.
        path: the file, which ends in .onnx; one that exists is replaced.
        plan: what made ``model``; it says what the network is run on.
        example_input: what ``model`` takes, where neither the plan nor the usual sizes say it.

    Raises:
        ExportError: where onnx or onnxscript are not installed, the network cannot be captured or has no ONNX, the file
            gives other numbers, or cannot be written.
        ModelError, InputError: where the model or its input cannot be worked with.
    """
    file = in_folder(path, (".onnx",), "network.onnx")
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(f"ONNX needs {' and '.join(missing)}: pip install 'robust-reconfig[onnx]'")
    if sum(p.nbytes for p in model.parameters()) > _MOST_BYTES:
        raise ExportError(
            "the network has more than 2 GB of parameters, which one ONNX file cannot hold: use torch-export"
        )
    made = program(model, inputs_of(model, example_input, plan))
    with whole(file) as unfinished:
        _write(made, unfinished)
        runs = importlib.util.find_spec("onnxruntime") is not None
        if runs:
            _check(made, unfinished)
    return Written((file,), made.takes, () if runs else (_NOT_RUN,))


def _write(made: Program, path: Path) -> None:
    names = [f"input_{index}" if len(made.tried) > 1 else "input" for index in range(len(made.tried))]
    outputs = [f"output_{index}" if len(made.expected) > 1 else "output" for index in range(len(made.expected))]
    try:
        with quiet():
            torch.onnx.export(
                made.exported,
                (),
                path,
                dynamo=True,
                input_names=names,
                output_names=outputs,
                external_data=False,
                verbose=False,
            )
    except OSError:
        raise
    except Exception as error:
        raise ExportError(f"torch has no ONNX for this network: {type(error).__name__}: {first_line(error)}") from error


def _check(made: Program, path: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    given = {item.name: tensor.numpy() for item, tensor in zip(session.get_inputs(), made.tried, strict=True)}
    made.compare(tuple(map(torch.from_numpy, session.run(None, given))), "onnxruntime")
