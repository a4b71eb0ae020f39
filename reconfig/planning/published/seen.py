"""What the modules of a captured model take and give, in widths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from reconfig.planning.reading import Reading
from reconfig.trace.record import ModuleCall, Passed
from reconfig.trace.skeleton import modules_of
from reconfig.widths.algebra import Extent, const, constant
from reconfig.widths.structure import Value

Said = tuple[str, Sequence[Extent]]
"""A published attribute (keys may lead on from it), and what its number, or each of its numbers, is the length of."""


class Seen:
    """What the modules of a captured model take and give.

    Args:
        reading: the model.
        other_depth: whether it has other blocks than the network whose numbers it carries, so that the length of a
            concat may differ from them.

    Attributes:
        modules: all modules by name.
    """

    def __init__(self, reading: Reading, other_depth: bool) -> None:
        self._other_depth = other_depth
        self.modules = modules_of(reading.skeleton)
        self._structure = reading.structure
        self._paths = {module: path for path, module in self.modules.items()}
        # Of several calls the last counts, as with a hook; what runs in training only fills in what is left.
        self._calls: dict[str, ModuleCall] = {}
        self._features: dict[str, tuple[Passed, ...]] = {}
        for capture in reversed(reading.structure.captures):
            self._calls |= {call.path: call for call in capture.module_calls}
            self._features |= capture.features

    def path_of(self, module: nn.Module) -> str | None:
        """The name of a module, None where it is none of the model's."""
        return self._paths.get(module)

    def first_called(self, paths: Iterable[str]) -> str | None:
        """The first of these names under which a module ran."""
        return next((path for path in paths if path in self._calls), None)

    def taken(self, path: str) -> list[Extent]:
        """The channels of each tensor that the module takes."""
        return self._channels(self._calls[path].inputs) if path in self._calls else []

    def given(self, path: str) -> list[Extent]:
        """The channels of each tensor that the module gives."""
        return self._channels(self._calls[path].outputs) if path in self._calls else []

    def features(self, path: str) -> list[Extent]:
        """The channels of each tensor that the module's ``forward_features`` gave."""
        return self._channels(self._features.get(path, ()))

    def matching(self, extents: Sequence[Extent], number: object) -> list[Extent]:
        """Of what a module takes or gives, what a published number is the length of: all together, or the first.

        None of them where no length is this number: then it says something else.
        """
        if not isinstance(number, int) or isinstance(number, bool):
            return []
        if self._other_depth and len(extents) == 1:
            return list(extents)
        whole = tuple(term for extent in extents for term in extent)
        several = [whole] if len(extents) > 1 else []
        return [extent for extent in [*several, *extents] if self._structure.widths.size(extent) == number][:1]

    def _channels(self, tensors: Sequence[Passed]) -> list[Extent]:
        values = [self._structure.values.get(tensor.node) if tensor.node else None for tensor in tensors]
        return [self._channel(value) for value in values if isinstance(value, Value) and len(value.dims) > 1]

    def _channel(self, value: Value) -> Extent:
        """The channels are the first dimension after the examples, or the last where that one is made of numbers."""
        first, last = (self._structure.widths.resolve(value.dims[axis]) for axis in (1, -1))
        if constant(first) and not constant(last):
            return last
        return first or const(0)
