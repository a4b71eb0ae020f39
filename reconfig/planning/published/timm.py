"""What networks of timm publish: ``feature_info``, ``num_features``, ``head_hidden_size``, and what their heads keep.

``pretrained_cfg`` says where the weights of the original are, and goes on saying so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import nn

from reconfig.planning.published.seen import Said, Seen
from reconfig.widths.algebra import Extent


def feature_info(seen: Seen, path: str, module: nn.Module) -> Iterator[Said]:
    """The channels of every feature: what a module gives, or takes, by the name that stands beside them.

    A list of dictionaries, or a ``FeatureInfo`` that holds one, as networks that give features have: these give those
    that they select.
    """
    held: Any = module.feature_info
    prefix, entries = ("feature_info", held) if isinstance(held, list) else ("feature_info.info", _info(held))
    selected = getattr(held, "out_indices", ())
    given = dict(zip(selected, seen.given(path), strict=False)) if len(selected) == len(seen.given(path)) else {}
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("module"), str):
            continue
        name = seen.first_called(_names(path, module, entry["module"]))
        if index in given:
            tensors = [given[index]]
        elif name is not None:
            tensors = seen.taken(name) if entry.get("hook_type") == "forward_pre" else seen.given(name)
        else:
            continue  # no longer in the network
        for extent in seen.matching(tensors, entry.get("num_chs")):
            yield f"{prefix}.{index}.num_chs", [extent]


def _info(held: Any) -> list[Any]:
    found = getattr(held, "info", None)
    return found if isinstance(found, list) else []


def _names(path: str, owner: nn.Module, feature: str) -> list[str]:
    """What a feature's module may be called in a network, and in one that gives features (flattened, or inside it)."""
    names = [feature, feature.replace(".", "_", 1), f"body.{feature}", f"model.{feature}"]
    if hasattr(owner, "incre_modules"):  # an HRNet, whose features have names that are no modules'
        stage = re.fullmatch(r"stage(\d)", feature)
        names = [f"incre_modules.{int(stage[1]) - 1}" if stage else "act1"]
    elif not feature:
        names = ["body.conv1"]  # a TResNet, whose stem has no name
    return [f"{path}.{name}" if path else name for name in names]


def num_features(seen: Seen, path: str, module: nn.Module) -> Iterator[Said]:
    """Of a network, the channels that ``forward_features`` gives; of its head, those that enter the classifier."""
    if _is_head(module):
        tensors = _into_classifier(seen, within=path)
    elif isinstance(module.num_features, list):
        return  # a backbone of transformers
    else:
        tensors = seen.features(path)
    for extent in seen.matching(tensors, module.num_features):
        yield "num_features", [extent]


def head_hidden_size(seen: Seen, path: str, module: nn.Module) -> Iterator[Said]:
    """The channels that enter the classifier."""
    for extent in seen.matching(_into_classifier(seen, within=path), module.head_hidden_size):
        yield "head_hidden_size", [extent]


def head_input(seen: Seen, path: str, module: nn.Module) -> Iterator[Said]:
    """What a head keeps: the channels that it takes, and those of its hidden layer, which enter the classifier."""
    if not _is_head(module):
        return
    for extent in seen.matching(seen.taken(path), module.in_features):
        yield "in_features", [extent]
    hidden = getattr(module, "hidden_size", None)
    for extent in seen.matching(_into_classifier(seen, within=path), hidden):
        yield "hidden_size", [extent]


def _is_head(module: nn.Module) -> bool:
    return hasattr(module, "in_features") and callable(getattr(module, "reset", None))


def _into_classifier(seen: Seen, within: str) -> list[Extent]:
    """The channels that enter the classifier that is in this module."""
    owner: Any
    for owner in seen.modules.values():
        if hasattr(type(owner), "get_classifier") and hasattr(type(owner), "reset_classifier"):
            try:
                found = owner.get_classifier()
            except AttributeError:  # somebody took it off, to make an encoder of the network
                continue
            first = found[0] if isinstance(found, tuple) else found  # a second one for distillation takes the same
            path = seen.path_of(first) if isinstance(first, nn.Module) else None
            if path is not None and (not within or path.startswith(f"{within}.")):
                return seen.taken(path)
    return []
