"""What a timm network publishes about its widths, held against what hooks see in a real forward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.judging.row import describe

CLASSES = 7


@dataclass(frozen=True)
class Published:
    """What one network published, and what was wrong with it.

    Attributes:
        channels: by ``feature_info``.
        problems: each in words; none is right.
    """

    channels: tuple[int, ...]
    problems: tuple[str, ...]


def judge_published(model: nn.Module, images: Tensor) -> Published:
    """Every number that ``model`` publishes, and every method that goes by them, on these images.

    Shapes are all that the numbers speak of, so they are seen on a copy without storage; the new classifier runs, and
    is differentiated, for real. ``model`` has it afterwards.
    """
    entries: Sequence[dict[str, Any]] = _entries(model)
    problems: list[str] = []
    shapes, shown = deepcopy(model).to("meta").eval(), images.to("meta")
    with torch.no_grad(), torch.device("meta"):
        seen = _hooked(shapes, entries, shown)
        for entry, channels in zip(entries, seen, strict=True):
            if channels is not None and entry["num_chs"] not in channels:
                problems.append(f"{entry['module']} says {entry['num_chs']} and gives {channels or 'nothing'}")
        for check in (_features, _intermediates):
            problems += _tried(check, shapes, shown)
    problems += _tried(_new_classifier, model, images)
    return Published(tuple(entry["num_chs"] for entry in entries), tuple(problems))


def _entries(model: Any) -> list[dict[str, Any]]:
    info = model.feature_info
    return info if isinstance(info, list) else info.get_dicts()


def _tried(check: Callable[[Any, Tensor], list[str]], model: nn.Module, images: Tensor) -> list[str]:
    try:
        return check(model, images)
    except Exception as error:
        return [f"{check.__name__.strip('_')}: {describe(error)}"]


def _hooked(model: nn.Module, entries: Sequence[dict[str, Any]], images: Tensor) -> list[list[int] | None]:
    """The channels that each feature may be said to have: of the first tensor, or of all that it is.

    None for a name that is no module's (HRNet): there ``forward_intermediates`` tells.
    """
    modules = dict(model.named_modules())
    found: list[list[int] | None] = [[] if entry["module"] in modules else None for entry in entries]

    def note(index: int, tensors: Any) -> None:
        several = [item for item in tensors if isinstance(item, Tensor)] if isinstance(tensors, tuple | list) else []
        shapes = [tuple(item.shape) for item in several] or [tuple(tensors.shape)]
        last = len(shapes[0]) == 3 or (len(shapes[0]) == 4 and shapes[0][1] == shapes[0][2] != shapes[0][3])
        axis = -1 if last else 1
        found[index] = [shapes[0][axis]] if len(shapes) == 1 else [shapes[0][axis], sum(s[axis] for s in shapes)]

    handles = []
    for index, entry in enumerate(entries):
        module = modules.get(entry["module"])
        if module is None:
            continue
        if entry.get("hook_type") == "forward_pre":
            handles.append(module.register_forward_pre_hook(lambda _, taken, index=index: note(index, taken)))
        else:
            handles.append(module.register_forward_hook(lambda _, taken, given, index=index: note(index, given)))
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _features(model: Any, images: Tensor) -> list[str]:
    """``num_features`` by ``forward_features``, ``head_hidden_size`` by ``forward_head`` and the classifier."""
    features = model.forward_features(images)
    hidden = model.forward_head(features, pre_logits=True)
    features = features[0] if isinstance(features, tuple | list) else features
    hidden = hidden[0] if isinstance(hidden, tuple | list) else hidden
    problems = []
    if model.num_features not in (features.shape[1], features.shape[-1]):
        problems.append(f"num_features says {model.num_features}, forward_features gives {tuple(features.shape)}")
    if model.head_hidden_size not in hidden.shape[1:]:
        problems.append(f"head_hidden_size says {model.head_hidden_size}, the head has {tuple(hidden.shape)}")
    return problems


def _intermediates(model: Any, images: Tensor) -> list[str]:
    """``forward_intermediates``, where ``feature_info`` has one entry for each map that it gives."""
    if not hasattr(model, "forward_intermediates"):
        return []
    maps = model.forward_intermediates(images, intermediates_only=True)
    entries = _entries(model)
    if len(maps) != len(entries):
        return []
    said, given = [entry["num_chs"] for entry in entries], [item.shape[1] for item in maps]
    return [] if said == given else [f"forward_intermediates gives {given}, feature_info says {said}"]


def _new_classifier(model: Any, images: Tensor) -> list[str]:
    model.eval().reset_classifier(CLASSES)
    logits = model(images)
    logits = logits[0] if isinstance(logits, tuple | list) else logits
    if logits.shape != (len(images), CLASSES):
        return [f"reset_classifier({CLASSES}) gives {tuple(logits.shape)}"]
    logits.sum().backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    classifier = model.get_classifier()
    first = classifier[0] if isinstance(classifier, tuple | list) else classifier
    if any(parameter.grad is None for parameter in first.parameters()):
        return [f"reset_classifier({CLASSES}): no gradient for {missing[0]}"]
    return []
