"""What a callback of Lightning does, under either name that Lightning has."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import torch
from torch import nn

import reconfig
from reconfig.errors import PlanError
from reconfig.planning.plan import Plan
from reconfig.plugins.parts import parts, rewrite, shapes
from reconfig.plugins.request import Request

Module = TypeVar("Module", bound=nn.Module)

_MARK = "_reconfig_plans"  # on the LightningModule: which of its networks are rewritten, and how it was asked
_CALLER = "Reconfigure"


class Rewriting:
    """Rewrites networks of a LightningModule before anything else happens to them.

    ``setup`` is called before ``configure_model``, before a checkpoint is restored and before there are optimizers, in
    every process. A module is rewritten once, whatever is done with it next: ``fit``, ``test``, another trainer. Where
    other callbacks copy the module in their own ``setup`` (averages of weights), this one goes first.

    Args:
        rule: as ``reconfig.plan`` takes it; or plans by the names of the networks, as ``from_checkpoint`` gives them.
        networks: the attribute of the LightningModule that is the network, or several; dots lead on, and "." is the
            module itself where its own layers are the network. Left out, the only child that has convolutions.
        options: of ``reconfig.plan``.

    Attributes:
        plans: the plans of the networks that were rewritten last.

    Raises:
        TypeError: an option that ``reconfig.plan`` does not take.
        RuleError: a rule that does not parse.
    """

    def __init__(
        self,
        rule: str | reconfig.Rule | Mapping[str, Plan] = "10-10-4",
        *,
        networks: str | Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        self._given: Mapping[str, Plan] = rule if isinstance(rule, Mapping) else {}
        self._request = Request(_CALLER, "10-10-4" if isinstance(rule, Mapping) else rule, options)
        self._networks = [networks] if isinstance(networks, str) else networks
        self.plans: dict[str, Plan] = {}

    @property
    def state_key(self) -> str:
        """By what a checkpoint knows this callback: several have different networks."""
        return f"{_CALLER}{self._networks or ''}"

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Rewrite the networks that are not rewritten yet.

        Raises:
            ReconfigError: as ``reconfig.plan`` does, with what to write where a network is not found.
        """
        self._rewrite(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The plans, as a checkpoint holds them: text alone, which is read without unpickling."""
        return {"made": str(self._request), "plans": {name: plan.to_json() for name, plan in self.plans.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See that a checkpoint was made by the plans that were just applied.

        Raises:
            PlanError: it was not.
        """
        stored = _plans(state_dict)
        if {name: plan.after for name, plan in stored.items()} != {n: plan.after for n, plan in self.plans.items()}:
            raise PlanError(self._another(state_dict))

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Say what to write where a checkpoint's tensors do not fit what was made."""
        if trainer.ckpt_path is not None and "loading state_dict" in str(exception):
            state = self._state(_read(trainer.ckpt_path))
            exception.add_note(self._another(state) if state else _OTHERS)

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str], networks: str | Sequence[str] | None = None) -> Self:
        """The callback with the plans that a checkpoint holds, whatever made them.

        Args:
            path: a local file that ``Trainer`` saved with this callback, with more than the weights in it.
            networks: as the callback was given them.

        Raises:
            PlanError: the file holds no such plans, or cannot be read without unpickling.
        """
        asked = cls(networks=networks)
        content = _read(path)
        state = asked._state(content)
        if not state:
            keys = [key for key in content.get("callbacks", {}) if str(key).startswith(_CALLER)]
            held = f"; of {', '.join(keys)}: pass the same networks" if keys else ""
            raise PlanError(
                f"{path} holds no plans of {_CALLER}{held}; make the callback as it was made for training: "
                f"{_CALLER}(rule, ...)"
            )
        return cls(_plans(state), networks=networks)

    def load_from_checkpoint(self, module: type[Module], path: str | os.PathLike[str], **kwargs: Any) -> Module:
        """What ``module.load_from_checkpoint(path, **kwargs)`` is, its networks rewritten before weights are loaded.

        Raises:
            ReconfigError: the networks cannot be rewritten so.
        """
        callback = self

        def on_load_checkpoint(made: Any, checkpoint: dict[str, Any]) -> None:
            callback._rewrite(made)
            module.on_load_checkpoint(made, checkpoint)  # type: ignore[attr-defined]

        rewritten: Any = type(module.__name__, (module,), {"on_load_checkpoint": on_load_checkpoint})
        made = rewritten.load_from_checkpoint(path, **kwargs)
        made.__class__ = module
        return made

    def _rewrite(self, module: Any) -> None:
        marks: dict[str, tuple[str, Plan]] = vars(module).setdefault(_MARK, {})
        self.plans = {}
        for name, network in parts(module, self._networks, _CALLER).items():
            asked, plan = marks.get(name, ("", None))
            if plan is None or shapes(network) != dict(plan.after):
                with _without_trainer(network):
                    plan = self._plan(name, network)
                    rewrite(module, name, network, plan)
                marks[name] = (str(self._request), plan)
            elif plan.after != self._given[name].after if name in self._given else asked != str(self._request):
                raise PlanError(
                    f"{name!r} of this {type(module).__name__} was rewritten already, by {asked}, which is not "
                    f"{self._request}: make a new module, or pass the same arguments"
                )
            self.plans[name] = plan

    def _plan(self, name: str, network: nn.Module) -> Plan:
        if not self._given:
            return self._request.plan(network)
        if name not in self._given:
            raise PlanError(
                f"there is no plan for {name!r}, only for {', '.join(self._given)}: write "
                f"{_CALLER}(plans, networks={list(self._given)!r})"
            )
        return self._given[name]

    def _state(self, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
        return checkpoint.get("callbacks", {}).get(self.state_key, {})

    def _another(self, state: Mapping[str, Any]) -> str:
        return (
            f"the checkpoint was made with {state['made']} and not with {self._request}: pass the same arguments, or "
            f"{_CALLER}.from_checkpoint(path)"
        )


_OTHERS = (
    f"the checkpoint holds no plans of this {_CALLER}: one of a network that was not rewritten cannot be resumed with "
    "it, and one of the weights alone needs the arguments that made it"
)


def _plans(state: Mapping[str, Any]) -> dict[str, Plan]:
    return {name: Plan.from_json(text) for name, text in state["plans"].items()}


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a checkpoint holds; nothing where it is no local file, or holds more than can be read without unpickling."""
    try:
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError):
        return {}


@contextmanager
def _without_trainer(network: Any) -> Iterator[None]:
    """A LightningModule that is a network itself: its copies would copy the trainer too."""
    held = vars(network).get("_trainer")
    if held is not None:
        vars(network)["_trainer"] = None
    try:
        yield
    finally:
        if held is not None:
            vars(network)["_trainer"] = held
