"""What a network that inherited weights kept of the original's tensors, read off the tensors themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_MAKERS = (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._BatchNorm)
_JOINS = {torch.cat, torch.concat, torch.stack, torch.split, torch.chunk, Tensor.split, Tensor.chunk}


def cuts(model: nn.Module, result: nn.Module) -> dict[str, tuple[Tensor, ...]]:
    """For each tensor that changed shape, the positions along each axis at which it was cut out of the original's.

    Raises:
        ValueError: where a tensor was not cut out of the original's.
    """
    new = result.state_dict()
    found = {}
    for name, old in model.state_dict().items():
        kept_at = cut(old, new[name])
        if kept_at is None:
            raise ValueError(f"{name} was not cut out of the original's")
        if old.shape != new[name].shape:
            found[name] = kept_at
    return found


def cut(old: Tensor, new: Tensor) -> tuple[Tensor, ...] | None:
    """Positions along each axis such that ``old`` at them is ``new``; None where there are none.

    No value occurs twice in ``old``, so the first line along each axis tells.
    """
    if torch.equal(old, new):
        return tuple(torch.arange(size) for size in old.shape)
    if old.dim() != new.dim() or new.numel() == 0:
        return None
    values, order = old.flatten().sort()
    kept_at = []
    for axis in range(old.dim()):
        line = new.movedim(axis, -1).reshape(-1, new.shape[axis])[0].contiguous()
        at = order[torch.searchsorted(values, line).clamp(max=len(values) - 1)]
        kept_at.append(torch.unravel_index(at, old.shape)[axis])
    picked = old
    for axis, index in enumerate(kept_at):
        picked = picked.index_select(axis, index)
    return tuple(kept_at) if torch.equal(picked, new) else None


@contextmanager
def masked(model: nn.Module, kept_at: Mapping[str, tuple[Tensor, ...]]) -> Iterator[None]:
    """In this block, convolutions, linear maps and norms of ``model`` return zero in the channels that were dropped."""

    def zeroing(keep: Tensor, axis: int) -> Callable[..., Tensor]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            return output * keep.view(-1, *[1] * (output.dim() - 1 - axis % output.dim()))

        return hook

    handles = []
    for path, module in model.named_modules():
        name = f"{path}.weight" if not isinstance(module, nn.modules.batchnorm._BatchNorm) else f"{path}.running_mean"
        if isinstance(module, _MAKERS) and name in kept_at:
            old = model.state_dict()[name]
            axis = 1 if isinstance(module, nn.modules.conv._ConvTransposeNd) else 0
            keep = torch.zeros(old.shape[axis], dtype=old.dtype).index_fill(0, kept_at[name][axis], 1.0)
            handles.append(module.register_forward_hook(zeroing(keep, -1 if isinstance(module, nn.Linear) else 1)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Watch(TorchFunctionMode):
    """Notes whether channels are joined or split."""

    seen = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen = self.seen or func in _JOINS
        return func(*args, **(kwargs or {}))


def joins(model: nn.Module, images: Tensor) -> bool:
    """Whether the model concatenates or splits tensors."""
    with torch.no_grad(), _Watch() as watch:
        model(images)
    return watch.seen


def ranking(parameters: Mapping[str, Tensor], kept_at: Mapping[str, tuple[Tensor, ...]]) -> tuple[int, list[str]]:
    """How many groups of axes were cut alike, and which of them did not keep the channels of the largest L2 norm.

    Axes that were cut at the same positions are one group: a choice out of many channels is not made twice by chance.
    """
    energies: dict[tuple[int, tuple[int, ...]], Tensor] = {}
    names: dict[tuple[int, tuple[int, ...]], str] = {}
    axes = [
        (name, axis, kept.tolist())
        for name, cut_at in kept_at.items()
        if name in parameters
        for axis, kept in enumerate(cut_at)
        if len(kept) < parameters[name].shape[axis]
    ]
    for name, axis, kept in sorted(axes, key=lambda item: parameters[item[0]].shape[item[1]]):
        tensor = parameters[name].detach().double()
        energy = tensor.square().movedim(axis, 0).flatten(1).sum(1) if tensor.dim() > 1 else tensor.square()
        group = (len(energy), tuple(kept))
        for channels, own in energies:
            span = len(energy) // channels  # a flattened map repeats each channel at every position
            if span > 1 and [c * span + i for c in own for i in range(span)] == kept:
                group, energy = (channels, own), energy.view(channels, span).sum(1)
                break
        energies[group] = energies.get(group, 0) + energy
        names.setdefault(group, name)
    wrong = [
        f"{names[channels, kept]} does not keep the largest channels"
        for (channels, kept), energy in energies.items()
        if energy.topk(len(kept)).indices.sort().values.tolist() != list(kept)
    ]
    return len(energies), wrong
