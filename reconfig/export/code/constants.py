"""Tensors that no weights file holds, as the expressions that make them."""

from __future__ import annotations

import base64
import zlib

import torch
from torch import Tensor

from reconfig.export.code.text import Text, hole

_FEW = 32  # numbers that are written out
UNPACK = '''
def _constant(packed: str, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor that was packed by zlib and base64."""
    data = bytearray(zlib.decompress(base64.b64decode(packed)))
    return torch.frombuffer(data, dtype=torch.uint8).view(dtype).reshape(shape)
'''
"""What a file with packed constants needs; it imports base64 and zlib."""


def constant(tensor: Tensor) -> Text:
    """An expression for a tensor, exact to the bit."""
    shape, dtype = tuple(tensor.shape), f"dtype={tensor.dtype}"
    least = tensor.detach().cpu().contiguous()
    for dim, length in enumerate(shape):  # what is the same all along is written once
        first = least.narrow(dim, 0, 1) if length else least
        if length > 1 and torch.equal(first.expand_as(least), least):
            least = first
    if not least.numel():
        return hole(f"torch.zeros({shape}, {dtype})")
    if least.numel() == 1 and len(shape) and least.isfinite().all():
        return hole(f"torch.full({shape}, {least.item()!r}, {dtype})")
    if least.numel() <= _FEW and least.isfinite().all():
        text = f"torch.tensor({least.tolist()!r}, {dtype})"
        return hole(text if least.shape == tensor.shape else f"{text}.repeat{_times(least, shape)}")
    data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    packed = base64.b64encode(zlib.compress(data, 9)).decode()
    return hole(f'_constant("{packed}", {tensor.dtype}, {shape})')


def _times(least: Tensor, shape: tuple[int, ...]) -> str:
    return str(tuple(length // short if short else 1 for length, short in zip(shape, least.shape, strict=True)))
