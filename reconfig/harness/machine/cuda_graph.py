"""A function of tensors captured once as a CUDA graph and then replayed, without a launch per operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

_WARMUPS = 3
"""Calls before a capture, in which libraries choose their algorithms and allocate their workspaces."""


class _Captured(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    output: Tensor


class CudaGraph:
    """``function`` of tensors on one GPU, captured at the first call with each set of shapes.

    What the function reads beside its inputs, such as a network's weights, must keep its memory: a replay reads what
    lies there by then. It must not look at values on the host (``item``), and must draw no random numbers.

    The graphs share one pool of memory, which holds their intermediate results for as long as this object lives: torch
    gives none of it to what runs between the replays. They may share it as each result is copied out at once.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self.pool: Any = None
        self.captured: dict[tuple[Any, ...], _Captured] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The function's result on ``inputs``, in memory of its own."""
        shapes = tuple((tensor.shape, tensor.stride(), tensor.dtype) for tensor in inputs)
        if shapes not in self.captured:
            self.captured[shapes] = self._capture(*inputs)
        captured = self.captured[shapes]
        for held, given in zip(captured.inputs, inputs, strict=True):
            held.copy_(given)
        captured.graph.replay()
        return captured.output.clone()

    def _capture(self, *inputs: Tensor) -> _Captured:
        held = tuple(tensor.detach().clone() for tensor in inputs)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARMUPS):
                self.function(*held)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Of this thread alone: NCCL's watchdog asks for events from another, which would end a global capture.
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            output = self.function(*held)
        self.pool = graph.pool()
        return _Captured(graph, held, output)
