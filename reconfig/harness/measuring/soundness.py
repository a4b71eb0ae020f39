"""What is looked at before a model of somebody else's is given a number: mistakes that make it look more robust.

After the lists of Carlini et al. (2019) and Croce et al. (2020, RobustBench).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor, nn

from reconfig.errors import ReconfigError
from reconfig.harness.attacks.engine import frozen
from reconfig.harness.attacks.gradient import ATTACKS
from reconfig.harness.attacks.losses import cross_entropy
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Threat
from reconfig.harness.machine.machine import Machine
from reconfig.harness.normalised import KNOWN, Normalised
from reconfig.harness.randomness import generator

_LOOKED_AT = 256
"""Images on which it is looked."""
_SAME = 1e-3
"""How far answers of one image may be apart, in parts of the largest answer: rounding alone is far below."""
_BETTER = 10.0
"""Percentage points by which another range of the input has to be better to be the right one."""
_FEW = 0.02
"""The part of images without a gradient that is not worth a word."""


class UnsoundError(ReconfigError):
    """A model whose figures would mean nothing."""


def check(machine: Machine, model: nn.Module, split: Split, classes: int, threat: Threat) -> list[str]:
    """What whoever reads the figures of ``model`` has to know; nothing, if all is as it should be.

    ``model`` takes images in [0, 1], and is run in eval mode as attacks run it.

    Raises:
        UnsoundError: The answers are not a finite number for each of the ``classes``, depend on chance or on the other
            images of a batch, or cannot be differentiated; or the images are in a range that it was not trained on.
    """
    part = split[:_LOOKED_AT]
    images, labels = machine.floats(part.images), part.labels
    with torch.no_grad(), frozen(model):
        answers = _answers(model, images, classes)
        _check_chance(model, images, answers)
        _check_alone(model, images, answers)
        clean = _check_range(model, images, labels, answers)
        doubts = [*_about_eps(threat), *_about_answers(answers), *_about_accuracy(clean, classes)]
    doubts += _about_gradients(model, images, labels)
    return doubts + _about_masking(machine, model, images, labels, answers, threat)


def _answers(model: nn.Module, images: Tensor, classes: int) -> Tensor:
    try:
        answers = model(images)
    except Exception as error:
        raise UnsoundError(
            f"the network does not take images {list(images.shape)} in [0, 1]: {type(error).__name__}: {error}"
        ) from error
    shape = tuple(answers.shape) if isinstance(answers, Tensor) else type(answers).__name__
    if shape != (len(images), classes):
        raise UnsoundError(
            f"the network answers {shape} for {len(images)} images of {classes} classes: one tensor [N, {classes}] of"
            " logits is needed, with the classes in the order of the data's"
        )
    if not answers.isfinite().all():
        raise UnsoundError("some answers of the network are not finite numbers: every comparison with them is false")
    return answers.float()


def _check_chance(model: nn.Module, images: Tensor, answers: Tensor) -> None:
    if _apart(model(images).float(), answers) <= _SAME:
        return
    raise UnsoundError(
        f"the network answers the same images differently each time, beginning in {_first_by_chance(model, images)}:"
        " dropout left on, or noise? Write F.dropout(x, p, self.training), or nn.Dropout; what is random on purpose"
        " needs attacks over its expectation, which are not made here"
    )


def _first_by_chance(model: nn.Module, images: Tensor) -> str:
    """The innermost of the modules that first gives something else when it is run again."""
    runs: list[list[tuple[str, Tensor]]] = []
    for _ in range(2):
        with _outputs(model) as outputs:
            model(images[:8])
        runs.append(outputs)
    for (name, first), (_, second) in zip(*runs, strict=False):
        if first.shape != second.shape or not torch.equal(first, second):
            module = dict(model.named_modules())[name]
            return f"module {name!r} ({type(module).__name__})" if name else f"{type(module).__name__}.forward"
    return "its forward"


@contextmanager
def _outputs(model: nn.Module) -> Iterator[list[tuple[str, Tensor]]]:
    """What each module gives, in the order in which they end."""
    found: list[tuple[str, Tensor]] = []
    handles = [
        module.register_forward_hook(
            lambda _module, _inputs, output, name=name: (
                found.append((name, output.clone())) if isinstance(output, Tensor) else None
            )
        )
        for name, module in model.named_modules()
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _check_alone(model: nn.Module, images: Tensor, answers: Tensor) -> None:
    alone = torch.cat([model(image[None]).float() for image in images[:4]])
    if _apart(alone, answers[:4]) > _SAME:
        raise UnsoundError(
            "the answer to an image depends on the others of its batch: a batch norm that is left in training mode, or"
            " made with track_running_stats=False? An attack would change the batch and not the image"
        )


def _check_range(model: nn.Module, images: Tensor, labels: Tensor, answers: Tensor) -> float:
    """The accuracy in % on images as they are, in [0, 1]."""
    clean = _accuracy(answers, labels)
    if images.shape[1] != 3:
        return clean
    others = {
        name: _accuracy(Normalised(model, *known).to(images.device)(images), labels) for name, known in KNOWN.items()
    }
    best = max(others, key=lambda name: others[name])
    if others[best] >= clean + _BETTER:
        mean, std = (" ".join(f"{value:.4g}" for value in values) for values in KNOWN[best])
        raise UnsoundError(
            f"of {len(labels)} images in [0, 1] the network gets {clean:.1f} % right, and {others[best]:.1f} % where"
            f" they are normalised ({best}): attacks stay in [0, 1], so that has to be inside the network. Give --mean"
            f" {mean} --std {std}, or do it in its forward"
        )
    return clean


def _about_eps(threat: Threat) -> Iterator[str]:
    if threat.norm != "linf":
        return
    steps = threat.eps * 255
    near = Fraction(max(1, round(steps)))
    if steps != near and abs(steps - near) < Fraction(1, 10):
        yield f"eps is {threat.eps}, which is not {near}/255: figures of others are for the fraction"
    if threat.eps > Fraction(1, 4):
        yield f"eps {threat.eps} is more than a quarter of the range of images, [0, 1]: eps 8 of 255 is written 8/255"


def _about_answers(answers: Tensor) -> Iterator[str]:
    sums = answers.sum(1)
    if (answers >= 0).all() and torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
        yield "the answers are probabilities: gradients of the cross-entropy vanish behind a softmax; return the logits"
    elif torch.allclose(answers.exp().sum(1), torch.ones_like(sums), atol=1e-4):
        yield "the answers are logarithms of probabilities; attacks that compare logits take them as they are"


def _about_accuracy(clean: float, classes: int) -> Iterator[str]:
    if clean < 1.5 * 100 / classes:
        yield f"it gets {clean:.1f} % of clean images right, about what chance does: are these its weights and classes?"


def _about_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> list[str]:
    with frozen(model):
        inputs = images.detach().requires_grad_()
        answers = model(inputs)
        if not answers.requires_grad:
            raise UnsoundError(
                "the answers cannot be differentiated to the images (a .detach(), .data, no_grad, argmax or a rounding"
                " in the way): gradient attacks would find nothing, whatever the network"
            )
        (gradient,) = torch.autograd.grad(cross_entropy(answers, labels), inputs, allow_unused=True)
    if gradient is None:
        raise UnsoundError("the answers do not depend on the images by any derivative: gradient attacks find nothing")
    if not gradient.isfinite().all():
        return ["some gradients are not finite: attacks stop on these images"]
    none = float((gradient.abs().flatten(1).amax(1) == 0).float().mean())
    if none <= _FEW:
        return []
    return [
        f"{100 * none:.0f} % of images have no gradient of the cross-entropy at all, which saturates or is masked:"
        " count on AutoAttack (aa), not on FGSM and PGD"
    ]


def _about_masking(
    machine: Machine, model: nn.Module, images: Tensor, labels: Tensor, answers: Tensor, threat: Threat
) -> list[str]:
    """In a ball that holds a grey image nobody can be right: where an attack does not get there, it is misled."""
    wide = replace(threat, norm="linf", eps=Fraction(1, 2))
    adversary, part = ATTACKS["pgd20"], slice(0, 64)
    start = None
    if adversary.start is not None:
        start = adversary.start(images[part], wide, generator(machine.device, "soundness"))
    found = adversary.craft(model, images[part], labels[part], wide, start=start)
    with torch.no_grad(), frozen(model):
        left, clean = _accuracy(model(found), labels[part]), _accuracy(answers[part], labels[part])
    chance = 100 / answers.shape[1]
    if left <= max(chance, clean / 10):
        return []
    return [
        f"with eps 1/2, where any image can become grey, PGD-20 leaves {left:.0f} % right: gradients mislead it, and"
        " its figures are too high; count on AutoAttack (aa)"
    ]


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-12))


def _accuracy(answers: Tensor, labels: Tensor) -> float:
    return 100 * float((answers.argmax(1) == labels).float().mean())
