"""The stages that were found, against those that timm lists in ``feature_info``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

import reconfig
from benchmarks.judging.row import AGREES, GOES_ON
from benchmarks.judging.sight import Sight


def judge_stages(model: nn.Module, before: Sight, size: int, stages: reconfig.Stages) -> str:
    """How the stages differ from timm's ``feature_info``: "agrees", "goes on: ..." or the differences; "" without one.

    Every stage must be there with its reduction (as a power of two) and width, and every feature must be a stage, but
    for those of a stem (the first, or at half resolution) and those that are only pooled, with no convolution at their
    resolution. A feature may be taken before its stage ends (at a module that is not its last, or before a
    convolutional head): the stage has to pass through the feature's width at that module, and it is named.
    """
    info = getattr(model, "feature_info", None)
    if info is None:
        return ""
    listed = info if isinstance(info, list) else info.get_dicts()
    features = {_power(feature["reduction"]): feature for feature in listed}
    convolved = {_power(size / seen.positions[-1]) for seen in before.convolutions.values()}
    differences: list[str] = []
    longer: list[str] = []
    for stage in stages:
        feature = features.get(_power(stage.reduction))
        where = f"stage {stage.index} (1/{stage.reduction}, {stage.width})"
        if feature is None:
            differences.append(f"{where} is no feature")
        elif stage.width != feature["num_chs"]:
            note = f"{where} has {feature['num_chs']} at {feature['module']}"
            (longer if _passes_through(before, stage, feature) else differences).append(note)
    missing = features.keys() - {_power(stage.reduction) for stage in stages} - {min(features), 1}
    for power in sorted(missing & convolved):
        feature = features[power]
        differences.append(f"1/{feature['reduction']} ({feature['num_chs']} at {feature['module']}) is no stage")
    return "; ".join(differences) or (GOES_ON + "; ".join(longer) if longer else AGREES)


def _power(reduction: float) -> int:
    return round(math.log2(reduction))


def _passes_through(before: Sight, stage: reconfig.Stage, feature: Mapping[str, Any]) -> bool:
    """Whether, between the stage's first and last layer, the feature's module returns the feature's width.

    Where the module returns no single tensor, any module that does so counts.
    """
    places = [before.order.index(layer) for layer in stage.layers if layer in before.order]
    modules = [feature["module"]] if feature["module"] in before.shapes else before.shapes
    return any(
        min(places) <= before.order.index(module) < max(places) and feature["num_chs"] in before.shapes[module]
        for module in modules
    )
