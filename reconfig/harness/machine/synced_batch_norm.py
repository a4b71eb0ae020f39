"""Batch norm whose statistics are those of the whole batch, whichever processes hold its parts."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient, as every process's loss depends on it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


class SyncedBatchNorm(_BatchNorm):
    """A batch norm that sums its statistics over all processes while it trains; for devices torch's own cannot.

    Takes [N, C, ...]. In eval mode it is a batch norm like any other, and nothing is exchanged.
    """

    def forward(self, input: Tensor) -> Tensor:
        """``input`` normalised, in its own type."""
        if not self.training:
            return super().forward(input)
        axes = [axis for axis in range(input.ndim) if axis != 1]
        values = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        count = values.new_tensor([input.numel() / input.shape[1]])
        sums = _Sum.apply(torch.cat([values.sum(axes), count]))
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()
        shape = [1, -1, *([1] * (input.ndim - 2))]
        centred = values - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        self._follow(mean.detach(), variance.detach(), count)
        normal = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(input.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected at least two dimensions, got {list(input.shape)}")

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics, as ``nn.BatchNorm2d`` does: with the unbiased variance."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        part = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), part)
        self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), part)


def synchronise(model: nn.Module, device: torch.device) -> nn.Module:
    """``model`` with every batch norm in it replaced by one that sums over processes; names and tensors stay.

    On a GPU these are torch's ``SyncBatchNorm``, which takes no tensors of a CPU; there it is ``SyncedBatchNorm``.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if isinstance(model, _BatchNorm):
        return _synced(model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm) and not isinstance(child, SyncedBatchNorm):
                setattr(parent, name, _synced(child))
    return model


def _synced(norm: _BatchNorm) -> SyncedBatchNorm:
    made = SyncedBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    made.weight, made.bias = norm.weight, norm.bias
    made.running_mean, made.running_var = norm.running_mean, norm.running_var
    made.num_batches_tracked = norm.num_batches_tracked
    return made.train(norm.training)
