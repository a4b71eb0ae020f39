"""``to_code``: record, write, compare, and only then leave the files."""

from __future__ import annotations

import os
from pathlib import Path

from torch import nn

from reconfig.errors import ExportError
from reconfig.export.code.capture import Captured, captures
from reconfig.export.code.check import check
from reconfig.export.code.classes import classes
from reconfig.export.code.forwards import forwards
from reconfig.export.code.source import source
from reconfig.export.inputs import inputs_of
from reconfig.export.paths import in_folder
from reconfig.export.written import Written
from reconfig.planning.make import Example
from reconfig.planning.plan import Plan
from reconfig.saving import save
from reconfig.version import VERSION
from reconfig.writing import whole

_BY = "written by reconfig"


def to_code(
    model: nn.Module,
    path: str | os.PathLike[str],
    plan: Plan | None = None,
    *,
    example_input: Example | None = None,
) -> Written:
    """Write ``model`` as a Python file that needs torch alone, and its weights as a safetensors file beside it.

    The file has the modules under their own names, layers of torch.nn where they are such, and forwards of the torch
    calls that were recorded; modules that are alike share a class. Before it is left it was run: in eval mode and,
    where the network could be recorded so, in train mode it gives the numbers that ``model`` gives, to the bit.

    Args:
        model: the network, trained or not, as ``plan.apply`` returned it.
        path: the file, which ends in .py; one that exists is replaced, and so are the weights.
        plan: what made ``model``; it says what the network is run on, and goes into the weights file.
        example_input: what ``model`` takes, where neither the plan nor the usual sizes say it.

    Raises:
        ExportError: where the forward cannot be written as torch calls, or a file cannot be written; neither is, then.
        ModelError, InputError: where the model or its input cannot be worked with.
    """
    code = in_folder(path, (".py",), "network.py")
    _check_ours(code)
    weights = code.with_suffix(".safetensors")
    text, captured = _text(model, plan, example_input, weights.name)
    notes = (f"in eval mode alone: {captured.no_training}",) if captured.no_training else ()
    with whole(weights) as unfinished_weights, whole(code) as unfinished:
        save(model, unfinished_weights, plan)
        unfinished.write_text(text, encoding="utf-8")
    return Written((code, weights), captured.takes, notes)


def _text(model: nn.Module, plan: Plan | None, example_input: Example | None, weights: str) -> tuple[str, Captured]:
    """The file of the freest recording that does what the network does."""
    reasons: list[ExportError] = []
    for captured in captures(model, inputs_of(model, example_input, plan)):
        if isinstance(captured, ExportError):
            reasons.append(captured)
            continue
        try:
            found = forwards(model, captured.evaluating, captured.training)
            made, shared = classes(found), found.tree.shared(model.state_dict())
            text = source(made, weights, shared, _about(model, plan, captured, made[-1].name, weights))
            check(text, made[-1].name, model, captured.tried, training=captured.training is not None)
        except ExportError as error:
            reasons.append(error)
        else:
            return text, captured
    raise ExportError(f"{type(model).__name__} cannot be written as code: {reasons[0]}") from reasons[0]


def _check_ours(code: Path) -> None:
    """Refuse to replace code that somebody wrote."""
    if code.exists() and _BY not in code.read_text(encoding="utf-8", errors="replace"):
        raise ExportError(f"{code} is there and was not written by reconfig: give another file, or remove it")


def _about(model: nn.Module, plan: Plan | None, captured: Captured, name: str, weights: str) -> list[str]:
    made = f", rule {plan.rule}, gamma {plan.gamma:.4g}" if plan else ""
    dtypes = ", ".join(str(dtype).removeprefix("torch.") for dtype in captured.tried[0].dtypes)
    takes = "; ".join(captured.takes)
    about = [
        f"{name}{made}, {_BY} {VERSION}; it needs torch alone.",
        f"`load()` makes it with the weights of {weights}. {name}() makes it with torch's initialisation of torch's "
        "own layers, and zeros for other parameters.",
        f"It takes {takes} of {dtypes}, with any number in place of a letter.",
    ]
    if captured.training is None:
        about.append(f"Its forward is that of eval mode alone: {captured.no_training}")
    return about
