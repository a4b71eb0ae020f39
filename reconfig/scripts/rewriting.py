"""What is done with a network that was found."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from reconfig.errors import InputError, ModelError, ScriptError
from reconfig.scripts import messages
from reconfig.scripts.adopt import adopt, adopted
from reconfig.scripts.births import Births
from reconfig.scripts.frames import Place, caller
from reconfig.scripts.identity import ByIdentity
from reconfig.scripts.job import Job
from reconfig.scripts.network import Network
from reconfig.scripts.states import is_of_original, loads_original
from reconfig.scripts.stop import Stop
from reconfig.scripts.tree import only_part
from reconfig.trace.record import Shape
from reconfig.trace.skeleton import tensors_of

if TYPE_CHECKING:
    from reconfig.planning.plan import Plan


@dataclass(frozen=True)
class Use:
    """What the script does with a module.

    Attributes:
        how: in words, as in "when it is moved at train.py:12".
        module: with which.
        state: what it loads into it, by name, where it does.
    """

    how: str
    module: nn.Module
    state: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class _Known:
    """An architecture that was found; ``plan`` is None where it came out of a file, rewritten already."""

    network: Network
    kind: type[nn.Module]
    before: Mapping[str, Shape]
    after: Mapping[str, Shape]
    plan: Plan | None


class Rewriting:
    """Rewrites the script's network, and those of the same architecture by the same plan; another one is refused."""

    def __init__(self, job: Job, births: Births) -> None:
        self._job, self._births = job, births
        self._known: list[_Known] = []
        self._loaded: ByIdentity[Place | None] = ByIdentity()  # networks, and parts, that got weights before
        self._stale: ByIdentity[bool] = ByIdentity()  # parameters that networks had before
        self.trained = False
        """Whether an optimizer has taken a step."""

    @property
    def networks(self) -> tuple[Network, ...]:
        """What was found."""
        return tuple(known.network for known in self._known)

    def is_stale(self, parameter: object) -> bool:
        """Whether a network had this parameter before it was rewritten."""
        return parameter in self._stale

    def note_weights(self, module: nn.Module) -> None:
        """``module`` gets weights of value before it is rewritten."""
        self._loaded[module] = caller()

    def check_loads(self, module: nn.Module, state: Mapping[str, Any]) -> None:
        """See that weights loaded into what was rewritten are not the original's.

        Raises:
            ScriptError: they are.
        """
        if loads_original(module, state, [known.plan for known in self._known if known.plan is not None]):
            raise ScriptError(messages.loads_original(caller()))

    def take(self, found: nn.Module, use: Use) -> bool:
        """Rewrite what was found; False where that has to wait, until weights of the original have been loaded.

        Raises:
            ScriptError: it is one network too many, or would lose weights.
            ReconfigError: it cannot be planned or rewritten.
            Stop: after a dry run.
        """
        shapes = _shapes(found)
        known = next((known for known in self._known if _is(known, found, shapes)), None)
        said = adopted(found)
        if known is not None and said is not None:
            return True  # a copy of what was rewritten
        if known is None and self._known:
            self._refuse(found)
            return True
        if said is not None:
            self._know(found, shapes, None)
            self._job.say(messages.as_saved(self._network(found), said))
            return True
        network, plan = (found, known.plan) if known is not None and known.plan is not None else self._planned(found)
        if use.state is not None and is_of_original(use.module, use.state, network, plan):
            self.note_weights(network)
            return False
        self._check_keeps_weights(network, plan)
        self._rewrite(network, plan, use, again=known is not None)
        return True

    def _planned(self, found: nn.Module) -> tuple[nn.Module, Plan]:
        """The plan for what was found, or, where that cannot be run by itself, for the part that it is made around."""
        first: ModelError | InputError | None = None
        part: nn.Module | None = found
        while part is not None:
            try:
                return part, self._job.plan(part)
            except (ModelError, InputError) as error:
                first = first or error
                part = only_part(part)
        assert first is not None
        raise type(first)(messages.cannot(self._network(found), first)) from first

    def _refuse(self, found: nn.Module) -> None:
        network = self._network(found)
        if self.trained:
            self._job.say(messages.left_alone(network))
        else:
            raise ScriptError(messages.several(self._job, [*self.networks, network]))

    def _check_keeps_weights(self, network: nn.Module, plan: Plan) -> None:
        loaded = [self._loaded.get(part) for part in network.modules() if part in self._loaded]
        if plan.weights == "fresh" and (loaded or self._births.get(network) is None):
            raise ScriptError(messages.would_lose_weights(self._network(network), loaded[0] if loaded else None))

    def _rewrite(self, network: nn.Module, plan: Plan, use: Use, *, again: bool) -> None:
        words = self._network(network)
        if not again:
            self._know(network, _shapes(network), plan)
            self._job.say(messages.found(words, use.how))
            self._job.say(str(plan))
        if self._job.dry_run:
            raise Stop
        old = list(network.parameters())
        adopt(network, _applied(plan, network), f"{plan.rule}, gamma {plan.gamma:.4g}")
        own = {id(parameter) for parameter in network.parameters()}
        for parameter in old:
            if id(parameter) not in own:
                self._stale[parameter] = True
        self._job.say(messages.again(words) if again else messages.rewritten(words, plan))

    def _know(self, network: nn.Module, shapes: Mapping[str, Shape], plan: Plan | None) -> None:
        after = shapes if plan is None else plan.after
        self._known.append(_Known(self._network(network), type(network), shapes, after, plan))
        self._job.note_found()

    def _network(self, module: nn.Module) -> Network:
        return Network.of(module, self._births.get(module))


def _applied(plan: Plan, network: nn.Module) -> nn.Module:
    """What ``plan`` makes of ``network``; of one without memory (on the meta device) the same, without memory."""
    if not any(parameter.is_meta for parameter in network.parameters()):
        return plan.apply(network)
    real = copy.deepcopy(network).to_empty(device="cpu")
    with torch.no_grad():
        for parameter in real.parameters():
            parameter.zero_()
    return plan.apply(real).to("meta")


def _is(known: _Known, module: nn.Module, shapes: Mapping[str, Shape]) -> bool:
    return type(module) is known.kind and shapes in (known.before, known.after)


def _shapes(module: nn.Module) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in tensors_of(module)}
