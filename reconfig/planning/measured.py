"""What fvcore counts in a network, whole and by stage."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reconfig.draw import table
from reconfig.errors import VerifyError
from reconfig.planning.reading import Reading
from reconfig.trace.skeleton import make_skeleton, within
from reconfig.trace.watch import preserved_rng


@dataclass(frozen=True)
class Flops:
    """Multiply-adds by fvcore's count.

    Attributes:
        total: of the whole network.
        by_module: of each module, what is inside it included.
        skipped: the operators that fvcore knows nothing about, and how often they were met.
    """

    total: int
    by_module: Mapping[str, int]
    skipped: Mapping[str, int]


@dataclass(frozen=True)
class StageCount:
    """A stage, or what lies outside of all.

    Attributes:
        name: "stem", "stage 1", ..., "head", or "rest" for what no stage's layer or width claims.
        params: parameters, shared ones once.
        flops: multiply-adds of one example.
    """

    name: str
    params: int
    flops: int


@dataclass(frozen=True)
class Counted:
    """A network's parameters and multiply-adds, by fvcore's count; printing it shows a table."""

    params: int
    flops: int
    stages: tuple[StageCount, ...]

    def __str__(self) -> str:
        rows = [(row.name, f"{row.params:,}", f"{row.flops:,}") for row in self.stages]
        return table(("", "parameters", "multiply-adds"), [*rows, ("in all", f"{self.params:,}", f"{self.flops:,}")])


def _fvcore() -> Any:
    """Fvcore's counters, imported when they are needed: that takes half a second, and fvcore scripts its losses."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.script. is deprecated", FutureWarning)
        import fvcore.nn
    return fvcore.nn


def count_params(model: nn.Module) -> int:
    """Parameters of ``model`` by fvcore's count, shared ones once."""
    return int(_fvcore().parameter_count(model)[""])


def count_flops(model: nn.Module, inputs: Sequence[Tensor]) -> Flops:
    """Multiply-adds of ``model`` in eval mode, on a skeleton of it: nothing is computed, and ``model`` is not run.

    Args:
        model: any network.
        inputs: what it takes; only shapes and dtypes count.

    Raises:
        VerifyError: where fvcore cannot trace it.
    """
    try:
        return _traced(make_skeleton(model, "meta"), inputs)
    except Exception:  # a forward that needs numbers runs on the CPU alone
        try:
            return _traced(make_skeleton(model, "cpu"), inputs)
        except Exception as error:
            raise VerifyError(f"fvcore cannot trace {type(model).__name__}: {error}") from error


def _traced(skeleton: nn.Module, inputs: Sequence[Tensor]) -> Flops:
    device = next(skeleton.parameters()).device
    analysis: Any = _fvcore().FlopCountAnalysis(
        skeleton, tuple(torch.zeros_like(tensor, device=device) for tensor in inputs)
    )
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    with preserved_rng(), torch.no_grad():
        by_module = {path: int(count) for path, count in analysis.by_module().items()}
    return Flops(by_module[""], by_module, dict(analysis.unsupported_ops()))


def count_stages(model: nn.Module, reading: Reading) -> Counted:
    """What fvcore counts in ``model``, stage by stage of ``reading``, which was made of it."""
    inputs = [tensor[:1] if tensor.dim() else tensor for tensor in reading.inputs]
    flops = count_flops(model, inputs)
    names = _names(model, reading)
    totals = {
        name: [0, 0] for name in ("stem", *(f"stage {stage.index}" for stage in reading.placement.stages), "head")
    }
    totals["rest"] = [0, 0]
    seen: set[Tensor] = set()
    for path, module in model.named_modules():
        own = flops.by_module.get(path, 0) - sum(
            flops.by_module.get(f"{path}.{name}" if path else name, 0) for name, _ in module.named_children()
        )
        parameters = set(module.parameters(recurse=False)) - seen
        seen |= parameters
        row = totals[names.get(path, "rest")]
        row[0] += sum(parameter.numel() for parameter in parameters)
        row[1] += own
    rows = tuple(StageCount(name, *counts) for name, counts in totals.items() if any(counts))
    return Counted(count_params(model), flops.total, rows)


def _names(model: nn.Module, reading: Reading) -> dict[str, str]:
    """The row of each module that a stage, the stem or the head claims."""
    stages = reading.placement.stages
    members = reading.stage_members()
    names: dict[str, str] = {}
    for path, module in model.named_modules():
        own = [f"{path}.{name}" if path else name for name, _ in module.named_parameters(recurse=False)]
        found = [members[name] for name in own if name in members]
        block = next((stage.index for stage in stages for name in stage.blocks if within(path, name)), None)
        if path in stages.stem or path in stages.head:
            names[path] = "stem" if path in stages.stem else "head"
        elif found or block is not None:
            names[path] = f"stage {found[0] if found else block}"
    return names
