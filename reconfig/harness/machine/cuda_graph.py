"""A function of tensors recorded once as a CUDA graph and then replayed, without a launch per operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

_WARMUPS = 3
"""Calls before a recording: libraries choose their algorithms and allocate their workspaces in them."""


class _Recording(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    output: Tensor


class Recorded:
    """``function`` of tensors on one GPU, recorded at the first call with each set of shapes.

    What it reads beside its inputs, such as a network's weights, must keep its memory: a replay reads what lies there
    by then. It must not look at values on the host (``item``), and must draw no random numbers.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self.recordings: dict[tuple[Any, ...], _Recording] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The function's result on ``inputs``, in memory of its own."""
        key = tuple((tensor.shape, tensor.stride(), tensor.dtype) for tensor in inputs)
        if key not in self.recordings:
            self.recordings[key] = self._record(*inputs)
        recording = self.recordings[key]
        for held, given in zip(recording.inputs, inputs, strict=True):
            held.copy_(given)
        recording.graph.replay()
        return recording.output.clone()

    def _record(self, *inputs: Tensor) -> _Recording:
        held = tuple(tensor.detach().clone() for tensor in inputs)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARMUPS):
                self.function(*held)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self.function(*held)
        return _Recording(graph, held, output)
