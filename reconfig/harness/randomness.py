"""Random numbers as a function of what they are for.

Every draw of a run comes from a generator keyed by the seed and its purpose, epoch and step. A run that goes
on from a checkpoint draws what the uninterrupted one would have drawn: there is no random state to save.
"""

from __future__ import annotations

import hashlib

import torch


def derived_seed(*key: int | str) -> int:
    """A seed below 2**63 that depends on every part of ``key``; the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


def generator(device: torch.device | str, *key: int | str) -> torch.Generator:
    """A fresh generator on ``device`` for the draws named by ``key``."""
    return torch.Generator(device).manual_seed(derived_seed(*key))
