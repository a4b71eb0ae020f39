"""In which precision, memory layout and form a network computes: what decides the last digits of its figures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reconfig.harness.experiment import AttackForm, Precision


@dataclass(frozen=True)
class Computation:
    """How a figure was computed. Figures that were computed in two ways are not parts of one."""

    precision: Precision
    channels_last: bool
    compiled: bool
    form: AttackForm = "plain"

    def __str__(self) -> str:
        """As files and tables have it: "bf16, channels last, compiled"."""
        also = {"channels last": self.channels_last, "compiled": self.compiled, self.form: self.form != "plain"}
        return ", ".join([self.precision, *(name for name, holds in also.items() if holds)])


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether a GPU may round the factors of float32 products to TF32 (10 bits) while this is open.

    torch allows that for convolutions and forbids it for matrix products unless told otherwise.
    """
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    allow_tf32(allowed)
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def allow_tf32(allowed: bool) -> None:
    """Set for the whole process what ``tf32`` sets for a while."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed


class Lowered(nn.Module):
    """A network that computes in bf16 under autocast and answers in float32, as accelerate has a training do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes] of images [N, C, H, W]."""
        with torch.autocast(images.device.type, torch.bfloat16):
            logits = self.model(images)
        return logits.float()
