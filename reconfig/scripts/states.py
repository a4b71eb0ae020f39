"""Whether a state dict is the original's or the rewritten network's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from reconfig.planning.plan import Plan


def fits(module: nn.Module, state: Mapping[str, Any]) -> bool:
    """Whether nothing in ``state``, by the names of ``module``, has another shape than ``module`` has."""
    return not _differing(module, state)


def is_of_original(module: nn.Module, state: Mapping[str, Any], network: nn.Module, plan: Plan) -> bool:
    """Whether ``state``, for ``module``, has the shapes of ``network`` as it is and not as ``plan`` makes it.

    Args:
        module: what the state is for: the network, a part of it, or what wraps it.
        state: by the names of ``module``.
    """
    names = {id(tensor): name for name, tensor in _tensors(network)}
    for key, tensor in _tensors(module):
        name, value = names.get(id(tensor)), state.get(key)
        if name is not None and isinstance(value, Tensor):
            shape = tuple(value.shape)
            if shape == tuple(plan.before[name]) and shape != tuple(plan.after.get(name, shape)):
                return True
    return False


def loads_original(module: nn.Module, state: Mapping[str, Any], plans: Iterable[Plan]) -> bool:
    """Whether ``state`` is an original's, and ``module`` was rewritten by one of ``plans`` or holds what was."""
    return any(
        tuple(plan.before[name]) == shape
        for plan in plans
        for key, shape in _differing(module, state).items()
        for name in plan.before
        if f".{key}".endswith(f".{name}") or f".{name}".endswith(f".{key}")
    )


def _differing(module: nn.Module, state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    own = dict(_tensors(module))
    return {
        key: tuple(value.shape)
        for key, value in state.items()
        if isinstance(value, Tensor) and key in own and value.shape != own[key].shape
    }


def _tensors(module: nn.Module) -> Iterable[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)
