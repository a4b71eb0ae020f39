"""Weights drawn anew, by the law that the original's initialisation followed.

A class that brings its own
``reset_parameters`` is asked to use it; otherwise the law is read from the original's tensors: constants stay
constants, and for each kind of layer the spread is explained by the fan-in, the fan-out, their mean, or none of them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Container, Sequence, Set
from dataclasses import dataclass
from statistics import fmean, pstdev

import torch
from torch import Tensor, nn

from reconfig.rewrite.depth import DepthEdit, origin
from reconfig.trace.skeleton import modules_of, tensors_by_name, tensors_of
from reconfig.trace.watch import preserved_rng

_SAMPLE = 1 << 16  # enough entries to tell a law by
_UNIFORM_KURTOSIS, _NORMAL_KURTOSIS = 1.8, 3.0
_USUAL_GAINS = (math.sqrt(2), 1.0, 1 / math.sqrt(3))  # He; Glorot and LeCun; torch's own layers
_FIXED_SPREADS = (0.02, 0.01, 0.001)
_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)

Fans = tuple[int, int]
_LAWS: dict[str, Callable[[Fans], float]] = {
    "fan_in": lambda fans: fans[0],
    "fan_out": lambda fans: fans[1],
    "fan_mean": lambda fans: (fans[0] + fans[1]) / 2,
    "fixed": lambda fans: 1.0,
}


@dataclass(frozen=True)
class Law:
    """How a kind of tensor is drawn: spread = gain / sqrt(fan), from a uniform or a normal distribution."""

    fan: str
    gain: float
    uniform: bool

    def draw(self, like: Tensor, fans: Fans) -> Tensor:
        spread = self.gain / math.sqrt(_LAWS[self.fan](fans))
        noise = torch.empty(like.shape, dtype=torch.promote_types(like.dtype, torch.float32), device=like.device)
        if self.uniform:
            noise.uniform_(-spread * math.sqrt(3), spread * math.sqrt(3))
        else:
            noise.normal_(0.0, spread)
        return noise.to(like.dtype)


@dataclass(frozen=True)
class _Observed:
    spread: float
    kurtosis: float
    fans: Fans


def fresh(original: nn.Module, edits: Sequence[DepthEdit]) -> Callable[[str, Tensor], Tensor]:
    """A function that draws the tensor of a name and (meta) shape anew, by the law of ``original``.

    Buffers are not drawn: statistics of normalisation start over, others are carried over.
    """
    modules = modules_of(original)
    tensors = tensors_by_name(original)
    constants = {
        id(parameter) for _, parameter in tensors_of(original, "parameters") if _is_constant(parameter.detach())
    }
    laws = _laws(modules, constants)

    def fill(name: str, shape: Tensor) -> Tensor:
        source = origin(name, edits)
        path, _, leaf = source.rpartition(".")
        module, old = modules[path], tensors[source].detach()
        new = torch.empty(shape.shape, dtype=old.dtype, device=old.device)
        if not isinstance(tensors[source], nn.Parameter):
            return _reset_statistics(leaf, new) if isinstance(module, _NORMS) else _tiled(old, new)
        if not old.is_floating_point():
            return _tiled(old, new)
        constant = id(tensors[source]) in constants
        if isinstance(module, _NORMS) and not constant:
            return new.fill_(1.0 if leaf == "weight" else 0.0)
        if constant:
            return new.fill_(old.flatten()[0].item()) if old.numel() else new
        law = laws.get((type(module), leaf))
        if law is None:
            return new.copy_(old.float().mean() + old.float().std() * torch.randn(new.shape, device=new.device))
        return law.draw(new, _new_fans(module, leaf, new))

    return fill


def reset_own(model: nn.Module) -> None:
    """Let every class outside of torch that has a ``reset_parameters`` of its own use it, inner modules first."""
    for _, module in reversed(_with_own_reset(model)):
        with torch.no_grad():
            module.reset_parameters()  # type: ignore[operator]


def failing_resets(skeleton: nn.Module) -> Set[str]:
    """The modules of a skeleton whose own ``reset_parameters`` raises: most of those make tensors of other shapes."""
    failing = set()
    for path, module in _with_own_reset(skeleton):
        try:
            with torch.no_grad(), preserved_rng():
                copy.deepcopy(module).reset_parameters()  # type: ignore[operator]
        except Exception:  # any: it is other people's code
            failing.add(path)
    return failing


def _with_own_reset(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules of classes outside of torch that have a ``reset_parameters``."""
    resets = ((path, module, getattr(type(module), "reset_parameters", None)) for path, module in model.named_modules())
    return [
        (path, module)
        for path, module, reset in resets
        if reset is not None and not reset.__module__.startswith("torch.")
    ]


def _new_fans(module: nn.Module, leaf: str, new: Tensor) -> Fans:
    """Fans of the new tensor; a bias has its layer's fan-in, which the skeleton's weight tells."""
    if new.dim() > 1:
        return _fans(new)
    weight = getattr(module, "weight", None)
    return _fans(weight) if isinstance(weight, Tensor) and weight.dim() > 1 else (new.numel(), new.numel())


def _fans(weight: Tensor) -> Fans:
    field = math.prod(weight.shape[2:])
    return weight.shape[1] * field, weight.shape[0] * field


def _is_constant(tensor: Tensor) -> bool:
    """Whether all entries are equal; none are."""
    flat = tensor.flatten()
    few = flat[:8].tolist()  # the others are looked at where these are equal
    return all(value == few[0] for value in few) and (len(flat) <= len(few) or bool((flat == flat[0]).all()))


def _reset_statistics(name: str, new: Tensor) -> Tensor:
    return new.fill_(1) if name == "running_var" else new.zero_()


def _tiled(old: Tensor, new: Tensor) -> Tensor:
    """``old`` repeated or cut to the shape of ``new`` (the same filter for every channel, an index table)."""
    for axis, size in enumerate(new.shape):
        if old.shape[axis] != size:
            old = old.index_select(axis, torch.arange(size, device=old.device) % old.shape[axis])
    return new.copy_(old)


def _laws(modules: dict[str, nn.Module], constants: Container[int]) -> dict[tuple[type[nn.Module], str], Law]:
    observed: dict[tuple[type[nn.Module], str], list[_Observed]] = {}
    for module in modules.values():
        for leaf, parameter in module._parameters.items():
            if parameter is None or not parameter.is_floating_point() or id(parameter) in constants:
                continue
            fans = _new_fans(module, leaf, parameter)
            observed.setdefault((type(module), leaf), []).append(_observe(parameter.detach(), fans))
    return {kind: _law(samples) for kind, samples in observed.items()}


def _observe(tensor: Tensor, fans: Fans) -> _Observed:
    flat = tensor.flatten()
    sample = flat[:: max(1, flat.numel() // _SAMPLE)].to(torch.promote_types(flat.dtype, torch.float32))
    squares = (sample - sample.mean()).square()
    variance = squares.mean()
    return _Observed(float(variance.sqrt()), float(squares.square().mean() / variance.square()), fans)


def _law(samples: Sequence[_Observed]) -> Law:
    """The fan that explains the spreads best; among equals, the one whose gain is a usual one."""
    uniform = fmean(sample.kurtosis for sample in samples) < (_UNIFORM_KURTOSIS + _NORMAL_KURTOSIS) / 2

    def candidate(fan: str) -> tuple[float, Law]:
        gains = [math.log(sample.spread * math.sqrt(_LAWS[fan](sample.fans))) for sample in samples]
        gain = fmean(gains)
        usual = _FIXED_SPREADS if fan == "fixed" else _USUAL_GAINS
        distance = min(abs(gain - math.log(value)) for value in usual)
        return pstdev(gains) + distance, Law(fan, math.exp(gain), uniform)

    return min((candidate(fan) for fan in _LAWS), key=lambda pair: pair[0])[1]
