"""The formats by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from reconfig.errors import ExportError
from reconfig.export.code import to_code
from reconfig.export.onnx import to_onnx
from reconfig.export.safetensors import to_safetensors
from reconfig.export.torch_export import to_torch_export
from reconfig.export.written import Written


@dataclass(frozen=True)
class Format:
    """A format: how its files end, and what writes them."""

    suffix: str
    write: Callable[..., Written]


FORMATS: Mapping[str, Format] = {
    "code": Format(".py", to_code),
    "onnx": Format(".onnx", to_onnx),
    "safetensors": Format(".safetensors", to_safetensors),
    "torch-export": Format(".pt2", to_torch_export),
}


def format_of(path: Path) -> Format:
    """The format whose files end like ``path``.

    Raises:
        ExportError: where there is none.
    """
    for found in FORMATS.values():
        if path.suffix == found.suffix:
            return found
    endings = ", ".join(f"{found.suffix} ({name})" for name, found in FORMATS.items())
    raise ExportError(f"{path} does not say what to write: end it in {endings}, or pass --to")
