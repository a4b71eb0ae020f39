"""Networks built for images: from a name, for a number of classes and a size."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from reconfig import networks
from reconfig.errors import NetworkError
from reconfig.harness import files
from reconfig.networks import NetworkName
from reconfig.networks.nearest import listing
from reconfig.networks.sources import find

CLASSES = "num_classes"
"""The argument that a factory takes the number of classes by."""
_SPELLINGS = ("classes", "n_classes", "nclasses", "num_class", "n_class", "class_num", "out_features", "num_labels")
"""What else it is called; such an argument is named in errors, and not guessed at."""

Shape = tuple[int, int, int]
"""Channels, height and width of an image."""


def build(model: str, classes: int) -> nn.Module:
    """The network called ``model``, with ``classes`` for its ``num_classes`` where its factory takes that.

    Raises:
        NetworkError: It cannot be built.
    """
    name = NetworkName.parse(model)
    asked = for_classes(model, classes)
    try:
        return networks.build(asked)
    except NetworkError as error:
        # Only what a factory hands on (**kwargs) can be refused; what it names itself was looked up.
        if asked == name or CLASSES not in str(error.__cause__):
            raise
        return networks.build(name)


def for_classes(model: str, classes: int) -> NetworkName:
    """The name of ``model`` with the number of classes, if it is to be given and is not there yet.

    Raises:
        NetworkError: The name does not parse, or names nothing.
    """
    name = NetworkName.parse(model)
    if CLASSES in name.arguments or not _takes_classes(name):
        return name
    return replace(name, arguments={**name.arguments, CLASSES: classes})


def skeleton(model: str, classes: int, shape: Shape) -> nn.Module:
    """The network that ``build`` gives, checked to answer ``classes`` numbers for images of ``shape``.

    Without weights, on the meta device, where it can be built and run there.

    Raises:
        NetworkError: It cannot be built, does not take the images, or does not answer with a number for each class.
    """
    try:
        with torch.device("meta"):
            built = build(model, classes)
            _check(model, built, classes, shape)
    except NetworkError:  # a factory that computes, or a forward that looks at numbers: as it is, on the CPU
        built = build(model, classes)
        _check(model, built, classes, shape)
    return built


def _takes_classes(name: NetworkName) -> bool:
    with find(name) as factory:
        parameters = _parameters(factory)
    return CLASSES in parameters or any(kind is inspect.Parameter.VAR_KEYWORD for kind in parameters.values())


def _parameters(factory: Callable[..., object]) -> dict[str, object]:
    try:
        return {name: parameter.kind for name, parameter in inspect.signature(factory).parameters.items()}
    except (ValueError, TypeError):  # not every callable has a signature
        return {}


def _check(model: str, built: nn.Module, classes: int, shape: Shape) -> None:
    """See that a network answers with a number for each class, as it is trained and as it is measured."""
    images = torch.zeros(2, *shape)
    size = f"{shape[2]}x{shape[1]} pixels and {shape[0]} channels"
    before = built.training
    for training in (False, True):
        try:
            with torch.no_grad():
                answers = built.train(training)(images)
        except Exception as error:
            raise NetworkError(
                f"{model} does not take images of {size}: {type(error).__name__}: {files.reason(error)}"
            ) from error
        if not isinstance(answers, Tensor):
            when = "while it is trained" if training else "in eval mode"
            raise NetworkError(
                f"{model} answers with a {type(answers).__name__} {when}, and one tensor [N, classes] is needed;"
                " leave out its other heads, as in torchvision:googlenet?aux_logits=False"
            )
        if tuple(answers.shape) != (2, classes):
            raise NetworkError(_other_classes(model, tuple(answers.shape), classes))
    built.train(before)


def _other_classes(model: str, found: tuple[int, ...], classes: int) -> str:
    name = NetworkName.parse(model)
    shown = ", ".join(map(str, ("N", *found[1:])))
    answers = f"{model} answers with [{shown}], and the data has {classes} classes, so [N, {classes}] is needed"
    if CLASSES in name.arguments:
        return f"{answers}; leave {CLASSES} out, and it is given the data's"
    with find(name) as factory:
        takes = _parameters(factory)
    called = next((spelling for spelling in _SPELLINGS if spelling in takes), None)
    if called is not None:
        corrected = replace(name, arguments={**name.arguments, called: classes})
        return f"{answers}; write {str(corrected)!r}"
    if CLASSES in takes:
        return f"{answers}; it takes {CLASSES}, but does not make its output of it"
    return (
        f"{answers}; it takes no {CLASSES} but {listing(takes) or 'nothing'}: give it one, or say it with an argument"
    )
