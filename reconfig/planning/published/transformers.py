"""What convolutional networks of transformers publish: the sizes in their configuration, and a backbone's own list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, takewhile
from typing import Any

from torch import nn

from reconfig.planning.published.seen import Said, Seen
from reconfig.widths.algebra import Extent


def config(seen: Seen, path: str, module: nn.Module) -> Iterator[Said]:
    """``hidden_sizes`` (what each stage gives) and ``embedding_size`` (what enters the first).

    Of a backbone also ``num_features``: both as one list.
    """
    held: Any = module.config
    stages = _stages(seen, path)
    if not stages:
        return
    entering, sizes = seen.taken(stages[0])[:1], [seen.given(stage)[:1] for stage in stages]
    hidden = [extent for found in sizes for extent in found]
    if _all_match(seen, hidden, getattr(held, "hidden_sizes", None)):
        yield "config.hidden_sizes", hidden
    for extent in seen.matching(entering, getattr(held, "embedding_size", None)):
        yield "config.embedding_size", [extent]
    if _all_match(seen, [*entering, *hidden], getattr(module, "num_features", None)):
        yield "num_features", [*entering, *hidden]


def _stages(seen: Seen, path: str) -> list[str]:
    """Names of the stages of the encoder below a module."""
    below = f"{path}." if path else ""
    first = next((name for name in seen.modules if name.startswith(below) and name.endswith("encoder.stages.0")), None)
    if first is None:
        return []
    container = first.rpartition(".")[0]
    return list(takewhile(seen.modules.__contains__, (f"{container}.{number}" for number in count())))


def _all_match(seen: Seen, extents: Sequence[Extent], numbers: object) -> bool:
    """Whether the numbers are these lengths, one by one."""
    return (
        isinstance(numbers, list | tuple)
        and len(numbers) == len(extents)
        and all(seen.matching([extent], number) for extent, number in zip(extents, numbers, strict=True))
    )
