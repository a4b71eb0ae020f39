"""Products of tensors: matrices, einsum, attention."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from reconfig.trace.leaves import leaves
from reconfig.widths.algebra import Extent, const
from reconfig.widths.calls.table import named, table
from reconfig.widths.calls.unknown import unknown
from reconfig.widths.site import Site
from reconfig.widths.structure import Value


def matmul(site: Site, left: Value, right: Value) -> Value:
    if len(left.shape) < 2 or len(right.shape) < 2:
        result: Value = unknown(site, left, right)
        return result
    site.tie(left.dims[-1], right.dims[-2])
    dims = list(site.constant().dims)
    for value in (left, right):
        for back in range(3, len(value.dims) + 1):
            if value.shape[-back] > 1:
                dims[-back] = value.dims[-back]
    for back in range(3, min(len(left.dims), len(right.dims)) + 1):
        if min(left.shape[-back], right.shape[-back]) > 1:
            site.tie(left.dims[-back], right.dims[-back])
    dims[-2:] = [left.dims[-2], right.dims[-1]]
    if site.made_of_parameters(1):
        site.layer(right.dims[-1], left.dims[-1], left.shape[1:-1])
    return Value(site.shape, tuple(dims))


def einsum(site: Site, equation: Any, *operands: Any) -> Value:
    """Equal letters have equal lengths; a letter that only a parameter brings makes new channels."""
    values: list[Value] = list(leaves(operands, Value))
    if not isinstance(equation, str):
        result: Value = unknown(site, *values)
        return result
    inputs, output = _letters(equation, values)
    lengths = einsum_lengths(equation, values)
    for letters, value in zip(inputs, values, strict=True):
        for letter, size, extent in zip(letters, value.shape, value.dims, strict=True):
            if size > 1:
                site.tie(lengths[letter], extent)
    for own, other in (0, 1), (1, 0):
        if len(values) == 2 and site.made_of_parameters(own):
            new = [letter for letter in output if letter not in inputs[other]]
            summed = [letter for letter in inputs[own] if letter in inputs[other] and letter not in output]
            positions = [size for letter, size in zip(output, site.shape, strict=True) if letter not in new]
            if len(new) == len(summed) == 1:
                site.layer(lengths[new[0]], lengths[summed[0]], tuple(positions[1:]))
    return Value(site.shape, tuple(lengths[letter] for letter in output))


def einsum_lengths(equation: str, operands: Sequence[Value]) -> dict[str, Extent]:
    """What every letter is the length of; a dimension of 1 gives way to a longer one."""
    lengths: dict[str, Extent] = {}
    for letters, value in zip(_letters(equation, operands)[0], operands, strict=True):
        for letter, extent in zip(letters, value.dims, strict=True):
            if lengths.get(letter, const(1)) == const(1):
                lengths[letter] = extent
    return lengths


def _letters(equation: str, operands: Sequence[Value]) -> tuple[list[str], str]:
    """A letter for every dimension of each operand and of the output, dots and a missing output written out."""
    ranks = [len(value.shape) for value in operands]
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    free = [letter for letter in string.ascii_letters if letter not in equation]
    longest = max((rank - len(text) + 3 for text, rank in zip(texts, ranks, strict=True) if "..." in text), default=0)
    dots = "".join(free[:longest])
    inputs = [
        text.replace("...", dots[longest - (rank - len(text) + 3) :]) for text, rank in zip(texts, ranks, strict=True)
    ]
    spelled = left.replace("...", "").replace(",", "")
    implicit = dots + "".join(sorted(letter for letter in set(spelled) if spelled.count(letter) == 1))
    return inputs, right.replace("...", dots) if arrow else implicit


def attention(site: Site, query: Value, key: Value, value: Value, *args: Any, **kwargs: Any) -> Value:
    site.tie(query.dims[-1], key.dims[-1])
    site.tie(key.dims[-2], value.dims[-2])
    return Value(site.shape, (*query.dims[:-1], value.dims[-1]))


PRODUCTS = table(
    (matmul, named("matmul bmm mm __matmul__ __rmatmul__")),
    (einsum, [torch.einsum]),
    (attention, [F.scaled_dot_product_attention]),
)
