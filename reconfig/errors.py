"""What can go wrong, by name. Every message says what was wrong, where, and what to write instead."""

from __future__ import annotations


class ReconfigError(ValueError):
    """Base class of all errors that reconfig raises on purpose."""


class ModelError(ReconfigError):
    """The thing handed in is not a model that can be reconfigured (wrapped, lazy, without convolutions, ...)."""


class NetworkError(ReconfigError):
    """A network's name that cannot be read, names nothing, or names what makes no network."""


class InputError(ReconfigError):
    """The example input is missing, or the model cannot run on it."""


class RuleError(ReconfigError):
    """A rule that does not parse, or that does not fit the model's stages."""


class DepthError(RuleError):
    """A depth term that the blocks of its stage cannot follow."""


class StageError(ReconfigError):
    """Stages given by hand that do not fit the model."""


class BudgetError(ReconfigError):
    """A budget that the rule cannot meet by any gamma or depth, or that a ratio lacks."""


class FrozenError(ReconfigError):
    """``strict=True`` and something that the rule asks to scale had to keep its width."""


class PlanError(ReconfigError):
    """A plan that does not fit the model it is applied to, or that does not parse."""


class ExportError(ReconfigError):
    """A file that a network cannot be written to or read from."""


class ScriptError(ReconfigError):
    """A script that cannot be run, or in which the network cannot be found or rewritten in time."""


class VerifyError(ReconfigError):
    """The rewritten network does not do what its plan says; nothing is returned."""
