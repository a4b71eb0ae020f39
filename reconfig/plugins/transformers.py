"""Convolutional networks of transformers in their -R variant, which are saved and loaded as transformers does it.

    from transformers import AutoConfig, Trainer
    from reconfig.plugins import transformers as variants

    model = variants.from_pretrained("microsoft/resnet-18", rule="10-10-4", num_labels=10)  # inherits the weights
    trainer = Trainer(model_init=variants.model_init(lambda: Net(config), "10-10-4"), ...)
    again = variants.from_pretrained("checkpoint-500")  # a folder of save_pretrained: its plan is in its configuration

The class stays what it was, ``config.hidden_sizes`` says the new widths, and ``config.reconfig_plan`` is the plan.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForImageClassification

import reconfig
from reconfig.errors import ModelError, PlanError
from reconfig.planning.plan import Plan
from reconfig.plugins.parts import become
from reconfig.plugins.request import OPTIONS, Request

_KEPT = "reconfig_plan"  # in the configuration
_IN_CONFIG = "config."


def reconfigured(model: nn.Module, rule: str | reconfig.Rule = "10-10-4", **options: Any) -> Any:
    """The -R variant of a network of transformers, whose configuration holds its plan.

    Args:
        model: any ``PreTrainedModel`` with convolutions.
        rule, options: as ``reconfig.plan`` takes them.

    Raises:
        TypeError: an option that ``reconfig.plan`` does not take.
        ModelError: no network of transformers, or one that is a variant already.
        ReconfigError: as ``reconfig.plan`` does.
    """
    return _reconfigured(model, Request("reconfigured", rule, options))


def from_config(
    config: Any, rule: str | reconfig.Rule = "10-10-4", *, auto: Any = AutoModelForImageClassification, **options: Any
) -> Any:
    """``auto.from_config(config)`` in its -R variant, with fresh weights.

    Args:
        config: the original's.
        auto: an Auto class, such as ``transformers.AutoBackbone``.
        rule, options: as ``reconfig.plan`` takes them.

    Raises:
        TypeError: an option that ``reconfig.plan`` does not take.
        ModelError: the configuration is a variant's.
        ReconfigError: as ``reconfig.plan`` does.
    """
    request = Request("from_config", rule, options)
    _check_original(config, "from_config", "variants.from_pretrained(folder) loads it with its weights")
    return _reconfigured(auto.from_config(config), request)


def from_pretrained(
    path: str | os.PathLike[str],
    rule: str | reconfig.Rule | None = None,
    *,
    auto: Any = AutoModelForImageClassification,
    **kwargs: Any,
) -> Any:
    """``auto.from_pretrained(path)`` in its -R variant.

    Of the original's weights the variant inherits (``weights="fresh"`` draws new ones). Of a folder into which a
    variant was saved the plan is applied and the weights are loaded; a rule is not given then.

    Args:
        path: a folder, or a name on the hub.
        rule: "10-10-4" where left out; None for a variant that was saved.
        auto: an Auto class; a saved variant is of the class that was saved.
        kwargs: those of ``reconfig.plan``, and those of transformers' ``from_pretrained``.

    Raises:
        PlanError: a rule or an option for a variant that was saved, or one whose plan does not fit its class.
        ReconfigError: as ``reconfig.plan`` does.
    """
    options = {name: kwargs.pop(name) for name in OPTIONS if name in kwargs}
    config = AutoConfig.from_pretrained(path, **_of_place(kwargs))
    if not hasattr(config, _KEPT):
        request = Request("from_pretrained", "10-10-4" if rule is None else rule, {"weights": "inherit", **options})
        return _reconfigured(auto.from_pretrained(path, **kwargs), request)
    if rule is not None or options:
        given = ", ".join(["rule"] * (rule is not None) + list(options))
        raise PlanError(
            f"{path} holds a variant with its plan, so it takes no {given}: write from_pretrained({str(path)!r})"
        )
    return _loaded(path, config, kwargs)


def model_init(make: Callable[..., nn.Module], rule: str | reconfig.Rule = "10-10-4", **options: Any) -> Any:
    """A function for ``Trainer(model_init=...)``: makes the -R variant of what ``make`` makes.

    Args:
        make: makes the original; takes nothing, or the trial of a search over hyperparameters.
        rule, options: as ``reconfig.plan`` takes them.

    Raises:
        TypeError: an option that ``reconfig.plan`` does not take, or a ``make`` that takes more, or is a network.
        RuleError: a rule that does not parse.
    """
    request = Request("model_init", rule, options)
    if isinstance(make, nn.Module) or not callable(make):
        raise TypeError(
            f"model_init takes a function that makes the original, not {type(make).__name__}: write "
            "model_init(lambda: AutoModelForImageClassification.from_config(config), rule)"
        )
    wanted = len(inspect.signature(make).parameters)
    if wanted > 1:
        raise TypeError(f"what model_init calls takes nothing or a trial, and this one takes {wanted} arguments")

    def init(trial: Any = None) -> Any:
        return _reconfigured(make(trial) if wanted else make(), request)

    return init


def _reconfigured(model: Any, request: Request) -> Any:
    if not isinstance(model, transformers.PreTrainedModel):
        raise ModelError(
            f"{request.caller} takes a network of transformers, not {type(model).__name__}: for any other write "
            "reconfig.apply(model, rule)"
        )
    _check_original(model.config, request.caller, "pass the original")
    plan = request.plan(model)
    result: Any = plan.apply(model)
    _keep(result.config, plan)
    return result


def _keep(config: Any, plan: Plan) -> None:
    setattr(config, _KEPT, json.loads(plan.to_json()))


def _check_original(config: Any, caller: str, instead: str) -> None:
    if hasattr(config, _KEPT):
        raise ModelError(f"what {caller} was given is a variant already, its configuration holds a plan: {instead}")


def _loaded(path: str | os.PathLike[str], config: Any, kwargs: Mapping[str, Any]) -> Any:
    """The saved variant, by transformers' own loader on a class that makes the original and becomes the variant."""
    name = (config.architectures or [""])[0]
    kind: Any = getattr(transformers, name, None)
    if kind is None:
        raise PlanError(f"{path} holds a {name or 'network without a class'}, which is no class of transformers")
    plan = Plan.from_json(json.dumps(getattr(config, _KEPT)))

    def make(self: Any, config: Any, *args: Any, **options: Any) -> None:
        super(variant, self).__init__(_original(config, plan), *args, **options)
        become(self, plan.apply(self), plan)

    variant: Any = type(kind.__name__, (kind,), {"__init__": make, "__module__": kind.__module__})
    model, *rest = _as_tuple(variant.from_pretrained(path, **kwargs))
    model.__class__ = kind
    return (model, *rest) if rest else model


def _as_tuple(loaded: Any) -> tuple[Any, ...]:
    return loaded if isinstance(loaded, tuple) else (loaded,)  # output_loading_info=True gives a pair


def _original(config: Any, plan: Plan) -> Any:
    """The configuration that made the original: the plan knows what it changed."""
    result = deepcopy(config)
    for edit in plan.attributes:
        if not edit.path and edit.name.startswith(_IN_CONFIG):
            name = edit.name.removeprefix(_IN_CONFIG)
            setattr(result, name, list(edit.old) if isinstance(edit.old, tuple) else edit.old)
    return result


def _of_place(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Of the arguments of ``from_pretrained`` those that say where the configuration is."""
    names = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")
    return {name: kwargs[name] for name in names if name in kwargs}
