"""See that a file does what the network does, before it is written."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from reconfig.errors import ExportError
from reconfig.export.inputs import Inputs
from reconfig.trace.leaves import leaves
from reconfig.trace.skeleton import make_skeleton
from reconfig.trace.watch import preserved_rng


def check(text: str, name: str, model: nn.Module, tried: tuple[Inputs, ...], *, training: bool) -> None:
    """Run the class ``name`` of the file ``text`` beside ``model``, on the CPU; the numbers have to be the same.

    Raises:
        ExportError: where they are not, or one of them raises.
    """
    module = ModuleType("exported")
    module.__file__ = "exported.py"
    try:
        exec(compile(text, "exported.py", "exec"), vars(module))
        original = make_skeleton(model, "cpu")
        network = getattr(module, name)()
        network.load_state_dict(original.state_dict())
    except Exception as error:
        raise ExportError(f"the file does not make this network: {type(error).__name__}: {error}") from error
    for inputs in tried:
        _compare(network, original, inputs, training=False)
    if training:
        _compare(network, original, tried[0], training=True)


def _compare(network: nn.Module, original: nn.Module, inputs: Inputs, *, training: bool) -> None:
    ours, theirs = (list(_run(each, inputs, training)) for each in (network, original))
    same = len(ours) == len(theirs) and all(map(_equal, ours, theirs))
    if not same:
        mode = "train" if training else "eval"
        raise ExportError(
            f"in {mode} mode on {inputs.shapes} the file does not give what {type(original).__name__} gives"
        )


def _run(network: nn.Module, inputs: Inputs, training: bool) -> Iterator[Tensor]:
    """What comes out, and in train mode what has become of the buffers."""
    network.train(training)
    with preserved_rng(), torch.no_grad():
        torch.manual_seed(0)
        output: Any = network(*inputs.random())
    yield from leaves(output, Tensor)
    if training:
        yield from network.state_dict().values()


def _equal(ours: Tensor, theirs: Tensor) -> bool:
    return (
        ours.shape == theirs.shape
        and ours.dtype == theirs.dtype
        and torch.allclose(ours, theirs, rtol=0, atol=0, equal_nan=True)
    )
