"""All of timm as a list of models: one entry for each set of shapes, with the smallest image that shows its stages."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from benchmarks.judging.models import Entry

MOST = 150_000_000
"""Parameters that a model may have to be judged."""
SMALL = 128
"""Pixels a side of the images that most networks are judged on: 2x2 are left at 1/64."""
_CONVOLUTION = nn.modules.conv._ConvNd


@dataclass(frozen=True)
class Listed:
    """What is noted of a name; ``kind`` and ``size`` only of the first one with its shapes, where it is to be judged.

    ``shapes`` is a digest of the names and shapes of all parameters and buffers.
    """

    name: str
    family: str = ""
    params: int = 0
    convolutions: int = 0
    shapes: str = ""
    kind: str = ""
    size: int = 0
    error: str = ""

    @property
    def judged(self) -> bool:
        """Whether it has a convolution and is not too large."""
        return self.convolutions > 0 and self.params <= MOST and not self.error


def everything(folder: Path, console: Console) -> list[Entry]:
    """All models of timm that have a convolution and at most 150 M parameters, those of equal shapes once.

    What is found of each name is kept in ``folder``, so that a run which goes on need not build all of them again.
    """
    import timm

    path = folder / f"timm-{timm.__version__}.jsonl"
    held = {one.name: one for one in _read(path)}
    known = {one.shapes for one in held.values() if one.kind}
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(_line(one) for one in held.values()))
    names = timm.list_models()
    with path.open("a") as file:
        for name in track(names, "shapes of all names", console=console):
            if name not in held:
                held[name] = _listed(name, known)
                known.add(held[name].shapes)
                file.write(_line(held[name]))
                file.flush()
    first = {one.shapes: one for one in reversed([held[name] for name in names]) if one.judged and one.kind}
    return [Entry(one.name, "timm", one.family, one.kind, one.size) for one in reversed(first.values())]


def _listed(name: str, known: set[str]) -> Listed:
    import timm

    family = timm.models.model_entrypoint(name).__module__.rpartition(".")[2]
    try:
        with torch.device("meta"):
            model: Any = timm.create_model(name, pretrained=False)
    except Exception as error:  # any: it is noted, and shown with those that were not judged
        return Listed(name, family, error=f"{type(error).__name__}: {str(error).splitlines()[0]}")
    params = sum(parameter.numel() for parameter in model.parameters())
    convolutions = sum(isinstance(module, _CONVOLUTION) for module in model.modules())
    found = Listed(name, family, params, convolutions, shapes_of(model))
    if not found.judged or found.shapes in known:
        return found
    size = model.pretrained_cfg["input_size"][-1]
    kind, size = examine(model, size)
    return replace(found, kind=kind, size=size)


def shapes_of(model: nn.Module) -> str:
    """A digest of the names and shapes of all parameters and buffers."""
    text = ",".join(f"{name}{tuple(tensor.shape)}" for name, tensor in model.state_dict().items())
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def small(model: nn.Module, size: int) -> int:
    """The size that ``examine`` finds."""
    return examine(model, size)[1]


def examine(model: nn.Module, size: int) -> tuple[str, int]:
    """The kind of a model (on the meta device), and the size of the images to judge it on.

    The kind is "cnn", or "hybrid" where positions are weighed by their content, or most layers are no convolutions.

    The size is ``SMALL`` where the model takes such images and no convolution comes to another scale, which is the
    image's size over that of what the convolution returns, as a power of two; else ``size``. Gates have one position
    whatever the size; windows of a size of their own are of another scale on a smaller image.
    """
    layers = [isinstance(module, _CONVOLUTION) for module in model.modules() if isinstance(module, _LAYERS)]
    attends = any("SelfAttention" in type(module).__name__ for module in model.modules())
    with _Products() as products:
        large = _positions(model, size)
    kind = "hybrid" if attends or products.seen or 4 * sum(layers) < len(layers) else "cnn"
    reduced = _positions(model, SMALL) if large and size > SMALL else None
    same = (
        reduced is not None
        and large is not None
        and large.keys() == reduced.keys()
        and all(
            large[path] == reduced[path] == 1 or _power(size / large[path]) == _power(SMALL / reduced[path])
            for path in large
        )
    )
    return kind, SMALL if same else size


def _power(scale: float) -> int:
    return round(math.log2(scale))


def _positions(model: nn.Module, size: int) -> dict[str, int] | None:
    """The last length of what each 2d convolution returns for an image of this size; None where the model takes none.

    Those of other dimensions run along channels, as a gate's, or over what is no image.
    """
    found: dict[str, int] = {}

    def watch(path: str) -> Any:
        return lambda module, inputs, output: found.__setitem__(path, output.shape[-1])

    convolutions = [(path, module) for path, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    handles = [module.register_forward_hook(watch(path)) for path, module in convolutions]
    try:
        with torch.no_grad():
            model.eval()(torch.empty(1, 3, size, size, device="meta"))
    except Exception:  # any: the network asserts its size, or reads numbers, which tensors on meta have not
        return None
    finally:
        for handle in handles:
            handle.remove()
    return found


_LAYERS = (_CONVOLUTION, nn.Linear)
_PRODUCTS = {torch.matmul, torch.bmm, torch.einsum, Tensor.matmul, Tensor.__matmul__, Tensor.bmm}


class _Products(TorchFunctionMode):
    """Notes whether activations are multiplied as matrices, by more than a vector."""

    seen = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        product = func in _PRODUCTS and min(result.shape[-2:]) > 1
        self.seen = self.seen or product or func is nn.functional.scaled_dot_product_attention
        return result


def _line(one: Listed) -> str:
    return json.dumps(asdict(one)) + "\n"


def _read(path: Path) -> Iterator[Listed]:
    """What was noted; a last line that was cut off is left out."""
    for line in path.read_text().splitlines(keepends=True) if path.exists() else ():
        if line.endswith("\n"):
            yield Listed(**json.loads(line))
