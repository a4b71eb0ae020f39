"""Classes as the text of a Python file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from textwrap import fill

from reconfig.export.code.classes import Class
from reconfig.export.code.constants import UNPACK

_WIDTH = 112
_OPEN, _CLOSE = "([{", ")]}"
_LOAD = '''

def load(path: str | Path = WEIGHTS) -> {name}:
    """The network with the weights of a safetensors file, in eval mode; needs the package safetensors."""
    from safetensors.torch import load_file

    network = {name}()
    {load}
    return network.eval()
'''
_PLAINLY = "network.load_state_dict(load_file(path))"
_SHARING = """state = load_file(path)
    network.load_state_dict({**{name: state[first] for name, first in SHARED.items()}, **state})"""


def source(classes: Sequence[Class], weights: str, shared: Mapping[str, str], about: Sequence[str]) -> str:
    """The file: its classes, the last of which is the network's, and ``load`` for the weights beside it.

    Args:
        classes: what it is made of.
        weights: name of the weights file.
        shared: names in a state dict that the weights file does not have, and those of the same tensors that it has.
        about: what to say of it, a paragraph each.
    """
    body = "\n\n".join("\n".join(_class(one)) + "\n" for one in classes)
    packed = "_constant(" in body
    imports = ["base64", "math", "zlib"] if packed else ["math"]
    used = [name for name in imports if re.search(rf"\b{name}\.", body + (UNPACK if packed else ""))]
    head = [f"import {name}" for name in used]
    head += ["from collections import OrderedDict"] if "OrderedDict(" in body else []
    functional = ["import torch.nn.functional as F"] if re.search(r"\bF\.", body) else []
    paragraphs = (fill(paragraph, _WIDTH, break_long_words=False) for paragraph in about)
    document = '"""' + "\n\n".join(paragraphs) + '\n"""'
    parts = [
        document,
        "\n".join([*head, "from pathlib import Path"]),
        "\n".join(["import torch", *functional, "from torch import nn"]),
    ]
    text = "\n\n".join(parts) + f'\n\nWEIGHTS = Path(__file__).with_name("{weights}")\n\n'
    if shared:
        text = (
            text.rstrip("\n")
            + "\nSHARED = {\n"
            + "".join(f'    "{name}": "{first}",\n' for name, first in shared.items())
            + "}\n\n"
        )
    text += (
        (UNPACK + "\n" if packed else "")
        + "\n"
        + body
        + _LOAD.format(name=classes[-1].name, load=_SHARING if shared else _PLAINLY)
    )
    return text if re.search(r"\btorch\.", body) else text.replace("import torch\n", "", 1)


def _class(one: Class) -> Iterator[str]:
    yield f"class {one.name}({one.base}):"
    yield f'    """As {one.like}."""'
    yield ""
    yield from _wrapped(f"    def __init__({', '.join(('self', *one.parameters))}):")
    kept = [f"self.{parameter} = {parameter}" for parameter in one.kept]
    for line in (*one.init[:1], *kept, *one.init[1:]):
        yield from _wrapped("        " + line)
    if one.forward is None:
        return
    arguments, lines = one.forward
    yield ""
    yield f"    def forward({', '.join(('self', *arguments))}):"
    for line in lines or ("pass",):
        yield from _wrapped("        " + line)


def _wrapped(line: str) -> Iterator[str]:
    """A line of code; broken within its brackets where it is too long."""
    split = _outermost(line) if len(line) > _WIDTH else None
    if split is None:
        yield line
        return
    indent = line[: len(line) - len(line.lstrip())]
    before, parts, after = split
    yield before
    for part in parts:
        yield from _wrapped(f"{indent}    {part},")
    yield from _wrapped(indent + after)


def _outermost(line: str) -> tuple[str, list[str], str] | None:
    """A line as what is in front of the bracket that is worth breaking, the parts in it, and what is behind."""
    spans = list(_brackets(line))
    if not spans:
        return None
    start, stop, commas = max(spans, key=lambda span: span[1] - span[0])
    inside = line[start + 1 : stop]
    if " for " in inside and not commas:
        return None
    cuts = [start, *commas, stop]
    parts = [line[left + 1 : right].strip() for left, right in pairwise(cuts)]
    return line[: start + 1], [part for part in parts if part], line[stop:]


def _brackets(line: str) -> Iterator[tuple[int, int, list[int]]]:
    """The outermost brackets: where they open and close, and the commas right within."""
    commas: list[int] = []
    depth, start, quote = 0, 0, ""
    for index, sign in enumerate(line):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in _OPEN:
            depth += 1
            if depth == 1:
                start, commas = index, []
        elif sign in _CLOSE:
            depth -= 1
            if depth == 0:
                yield start, index, commas
        elif sign == "," and depth == 1:
            commas.append(index)
