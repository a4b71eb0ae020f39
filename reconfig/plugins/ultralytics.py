"""Trainers of ultralytics whose networks are -R variants.

    from ultralytics import YOLO
    from ultralytics.models.yolo.classify import ClassificationTrainer
    from reconfig.plugins.ultralytics import trainer

    robust = trainer(ClassificationTrainer, "10-10-4", gamma=1.5)
    YOLO("yolo11n-cls.yaml").train(data=..., trainer=robust)

Its checkpoints hold the whole network, so ``YOLO("best.pt")`` predicts, validates and exports it anywhere. To train one
further, resumed or tuned, pass the trainer again: ultralytics rebuilds a network from its YAML file before it trains.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn
from ultralytics.engine.trainer import BaseTrainer

import reconfig
from reconfig.errors import PlanError
from reconfig.planning.plan import Plan
from reconfig.plugins.request import Request

_KEPT = "reconfig_plan"  # on the network, as text, which ultralytics's checkpoints may hold
_SIZE = 64  # pixels; ultralytics's networks take any multiple of their stride
_CALLER = "trainer"


def trainer(base: type[BaseTrainer], rule: str | reconfig.Rule = "10-10-4", **options: Any) -> type[BaseTrainer]:
    """A trainer like ``base`` that rewrites the network it makes, before there is an optimizer.

    Weights of an original that are given (``YOLO("yolo11n.pt")``, ``pretrained=``) are inherited; those of a variant
    that this trainer saved are loaded. The feature maps of its heads are scaled unless ``outputs="keep"`` is given.

    Args:
        base: a trainer of ultralytics, such as ``DetectionTrainer``.
        rule, options: as ``reconfig.plan`` takes them.

    Raises:
        TypeError: no trainer of ultralytics, or an option that ``reconfig.plan`` does not take.
        RuleError: a rule that does not parse.
    """
    if not (isinstance(base, type) and issubclass(base, BaseTrainer)):
        kind = getattr(base, "__name__", type(base).__name__)
        raise TypeError(
            f"{_CALLER} takes a class of trainers of ultralytics, not {kind}: write "
            f"{_CALLER}(DetectionTrainer, {str(rule)!r}), with ultralytics.models.yolo.detect.DetectionTrainer"
        )
    request = Request(_CALLER, rule, options)

    def get_model(self: Any, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        text = getattr(weights, _KEPT, None)
        saved = Plan.from_json(text) if text else None
        original = super(made, self).get_model(cfg, None if saved else weights, verbose)
        result = _variant(original, request, saved, inherits=bool(weights and not saved))
        if saved:
            result.load(weights)
        return result

    made: Any = type(f"Reconfigured{base.__name__}", (base,), {"get_model": get_model})
    return made


def _variant(original: Any, request: Request, saved: Plan | None, *, inherits: bool) -> Any:
    _own_activations(original)
    heads = {name: vars(head).get("dynamic") for name, head in original.named_modules() if hasattr(head, "dynamic")}
    _set_dynamic(original, dict.fromkeys(heads, True))  # anchors follow the input in every run, none are kept of one
    first = next(original.parameters())
    planned = request.plan(
        original,
        outputs="scale",
        weights="inherit" if inherits else "fresh",
        example_input=torch.empty(1, first.shape[1], _SIZE, _SIZE, dtype=first.dtype, device="meta"),
    )
    if saved is not None and saved.before == planned.before and saved.after != planned.after:
        raise PlanError(
            f"the weights are of a variant by rule {saved.rule}, gamma {saved.gamma:.4g}, and this is {request}: "
            f"to train it further pass the same, {_CALLER}(base, {saved.rule!r}, gamma={saved.gamma!r})"
        )
    result = planned.apply(original)
    _set_dynamic(result, heads)
    setattr(result, _KEPT, planned.to_json())
    return result


def _own_activations(model: nn.Module) -> None:
    """Give each layer an activation of its own: they all hold one that belongs to their class."""
    for module in model.modules():
        of_class = {id(value) for kind in type(module).__mro__ for value in vars(kind).values()}
        for name, child in list(module._modules.items()):
            if child is not None and id(child) in of_class:
                module._modules[name] = deepcopy(child)


def _set_dynamic(model: nn.Module, values: dict[str, bool | None]) -> None:
    for name, value in values.items():
        head = model.get_submodule(name)
        if value is None:
            vars(head).pop("dynamic", None)
        else:
            head.dynamic = value  # type: ignore[assignment]
