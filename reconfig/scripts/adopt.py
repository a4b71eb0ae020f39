"""A network that takes on another's state where it stands, so that whoever holds it holds the other."""

from __future__ import annotations

from torch import nn

from reconfig.trace.reach import HOOKS
from reconfig.trace.skeleton import modules_of

_HOOK_OPTIONS = ("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs")
_MARK = "_reconfigured"


def adopt(network: nn.Module, result: nn.Module, said: str) -> None:
    """Make ``network`` what ``result`` is, a rewritten copy of it; both share one state afterwards.

    So do their parts of the same names: a reference to ``network.layer4`` from before leads to the new layers. Hooks
    and compilation in place, which a copy does not have, stay.

    Args:
        network: changed in place; its identity and class stay.
        result: what ``Plan.apply`` returned for it.
        said: how it was rewritten, in words; it is kept in ``network``, also in copies and pickles.
    """
    parts = modules_of(network)
    for path, new in modules_of(result).items():
        old = parts.get(path)
        if old is not None and type(old) is type(new):
            _carry_hooks(old, new)
            # One dictionary for both: what refers to the copy's modules sees what is set on the network's, too.
            object.__setattr__(old, "__dict__", vars(new))
    vars(network)[_MARK] = said


def adopted(module: nn.Module) -> str | None:
    """How ``module`` was rewritten, in this run or before it was saved; None where it was not."""
    said = vars(module).get(_MARK)
    return said if isinstance(said, str) else None


def _carry_hooks(old: nn.Module, new: nn.Module) -> None:
    for name in HOOKS:
        hooks = vars(old)[name]  # the handles that remove them refer to this very dictionary
        hooks.update(vars(new)[name])
        vars(new)[name] = hooks
    for name in _HOOK_OPTIONS:
        vars(new)[name] = vars(old)[name]
    compiled = vars(old).get("_compiled_call_impl")
    if compiled is not None:
        vars(new)["_compiled_call_impl"] = compiled
