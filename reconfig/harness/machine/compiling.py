"""Networks compiled by torch.compile, with an account of what really ran compiled.

Dynamo gives up on a piece of code after so many compilations (8 unless told otherwise), counted over all networks that
run it, and then runs it uncompiled with no more than a warning: the second network of a comparison could be plain where
the first was compiled. So the count begins anew with each network, batches of another size are no reason to compile
again, and calls are counted, compiled and not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._guards import CompileContext

_LIMIT = 64
"""Compilations of one piece of code that dynamo may make. A network needs one for each of training, attack and answer,
each of its shapes and types, and as many for the mean of its weights."""


@dataclass
class CompileLog:
    """What of a network ran compiled."""

    graphs: int = 0
    """Graphs compiled: one for a network in one mode, more where code cannot be traced as a whole."""
    recompilations: int = 0
    """How many of them because an earlier one did not fit: another mode, shape or type."""
    compiled: int = 0
    """Calls of the network that ran compiled code."""
    uncompiled: int = 0
    """Calls that ran none."""

    def clear(self) -> None:
        """Count from 0."""
        self.graphs = self.recompilations = self.compiled = self.uncompiled = 0

    def counts(self) -> dict[str, int]:
        """The counts by name, as results have them."""
        return asdict(self)


class Compiled(nn.Module):
    """A network that runs compiled and enters in ``log`` how often it did. ``model`` itself stays as it is."""

    def __init__(self, model: nn.Module, log: CompileLog) -> None:
        super().__init__()
        self.model, self.log = model, log
        self._ran = False
        torch._dynamo.config.recompile_limit = _LIMIT
        self._run = torch.compile(self._plain, backend=self._counted)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes] of images [N, C, H, W]; N may differ from call to call."""
        torch._dynamo.maybe_mark_dynamic(images, 0)
        self._ran = False
        logits = self._run(images)
        if self._ran:
            self.log.compiled += 1
        else:
            self.log.uncompiled += 1
        return logits

    def _plain(self, images: Tensor) -> Tensor:
        return self.model(images)

    def _counted(self, graph: torch.fx.GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        """The backend: torch's own, with the calls of what it makes noted."""
        self.log.graphs += 1
        identity = CompileContext.current_compile_id()
        self.log.recompilations += identity is not None and bool(identity.frame_compile_id)
        compiled = backend(graph, inputs)

        def run(*arguments: Any) -> Any:
            self._ran = True
            return compiled(*arguments)

        return run


def backend(graph: torch.fx.GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
    """``graph`` compiled as torch.compile does by itself."""
    from torch._inductor.compile_fx import compile_fx  # only here: it takes a second

    compiled: Any = compile_fx(graph, inputs)
    return compiled


def forget() -> None:
    """Drop what was compiled for other networks, whose compilations would count for the next one's limit."""
    torch.compiler.reset()
