"""See every torch call of a forward pass, and leave the random states as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from reconfig.trace.fast_shapes import FastShapes, answer

_WRITES_IN_PLACE = (Tensor.__setitem__, Tensor.copy_)
_READS_VALUES = {
    *(Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__),
    *(Tensor.__contains__, Tensor.equal, Tensor.allclose, Tensor.is_nonzero),
    *(torch.equal, torch.allclose, torch.is_nonzero),
}


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Leave torch's, numpy's and Python's random states as they were found."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


@contextmanager
def running(model: nn.Module, mode: CallWatcher, *, training: bool) -> Iterator[None]:
    """For a forward of ``model`` (a skeleton) under ``mode``, in training or in eval mode; in eval mode afterwards."""
    model.train()  # some models let go here of what they keep between runs
    model.train(training)
    try:
        with preserved_rng(), torch.no_grad(), FastShapes(), mode:
            yield
    finally:
        if training:
            model.eval()


class CallWatcher(TorchFunctionMode):
    """Sees every torch call of a forward on ``device``; tensors that are made without a device are made there."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device
        self._factories = _device_constructors()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self._factories and kwargs.get("device") is None:
            # As under `with device:`, whose mode of its own would slow every call down.
            kwargs = {**kwargs, "device": self._device}
        try:
            result = answer(func, args, kwargs)
            if result is NotImplemented:
                result = func(*args, **kwargs)
        except Exception:
            self.saw(func, args, kwargs, None)
            raise
        if isinstance(result, Tensor) or (
            isinstance(result, tuple | list) and any(isinstance(item, Tensor) for item in result)
        ):
            self.saw(func, args, kwargs, result)
        elif func in _WRITES_IN_PLACE:
            self.saw(func, args, kwargs, args[0])
        elif func in _READS_VALUES:
            self.read(func)
        return result

    def read(self, func: Any) -> None:
        """A call took numbers out of a tensor: from here on the forward may go by them."""

    def saw(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """A call gave a tensor, or several; None where it raised."""
        raise NotImplementedError


def shape_of(result: Any) -> Any:
    """The shape of a tensor; of several, a tuple with theirs, and None for what is no tensor."""
    if isinstance(result, Tensor):
        return tuple(result.shape)
    if isinstance(result, tuple | list):
        return tuple(shape_of(item) for item in result)
    return None
