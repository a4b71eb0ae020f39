"""What a user asks of a plug-in: a rule, and the options of ``reconfig.plan``, checked when they are given."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

import reconfig
from reconfig.networks.nearest import nearest

OPTIONS = tuple(name for name in inspect.signature(reconfig.plan).parameters if name not in ("model", "rule"))
"""What ``reconfig.plan`` takes beside a network and a rule."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """A rule and options, and the name of what took them.

    Attributes:
        caller: what the user called, for messages.
        rule: as ``reconfig.plan`` takes it.
        options: arguments of ``reconfig.plan``.

    Raises:
        TypeError: an option that ``reconfig.plan`` does not take; the message has the nearest that it does.
        RuleError: a rule that does not parse.
    """

    caller: str
    rule: str | reconfig.Rule
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name in self.options:
            if name not in OPTIONS:
                near = nearest(name, OPTIONS)
                meant = f"write {near[0]}=...; " if near else ""
                raise TypeError(f"{self.caller} takes no {name!r}: {meant}it takes a rule, and {', '.join(OPTIONS)}")
        reconfig.Rule.parse(self.rule)

    def plan(self, network: nn.Module, **defaults: Any) -> reconfig.Plan:
        """The plan for a network; what stays frozen is logged as a warning, the plan otherwise as information.

        Args:
            network: the original.
            defaults: options that count where the user gave none.

        Raises:
            ReconfigError: as ``reconfig.plan`` does.
        """
        plan = reconfig.plan(network, self.rule, **{**defaults, **self.options})
        _log.log(logging.WARNING if plan.frozen else logging.INFO, "%s: %s", self.caller, plan)
        return plan

    def __str__(self) -> str:
        options = "".join(f", {name}={_shown(value)}" for name, value in self.options.items())
        return f"{self.caller}({str(self.rule)!r}{options})"


def _shown(value: object) -> str:
    return f"torch.zeros{tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
