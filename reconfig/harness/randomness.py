"""Random numbers as a function of what they are for.

Every draw of a run comes from a generator made for its purpose, seed, epoch and step. A run that goes on from a
checkpoint draws what the uninterrupted one would have drawn: there is no random state to save.
"""

from __future__ import annotations

import hashlib

import torch


def derived_seed(*purpose: int | str) -> int:
    """A seed below 2**63 that depends on every part of ``purpose``; the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr(purpose).encode()).digest()[:8], "big") >> 1  # torch takes 63 bits


def generator(device: torch.device | str, *purpose: int | str) -> torch.Generator:
    """A fresh generator on ``device`` for the draws of this purpose, such as ("order", seed, epoch)."""
    return torch.Generator(device).manual_seed(derived_seed(*purpose))
