"""A network with fixed weights in eval mode, its batch norms folded into the convolutions before them.

There a batch norm is a factor and an addend for each channel, which the convolution can take over (Jacob et al., CVPR
2018, section 3.2): one pass over the activations less each way, and exact up to rounding. One that no convolution can
take over, as behind a sum, multiplies and adds in one pass; torch's own computes as if statistics wanted gradients.
Nothing is traced or copied: the network's own forward runs, and its calls of torch are seen. Which convolution is read
by which batch norm alone is learnt from one forward, and seen to hold in every later one.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from reconfig.harness.experiment import AttackForm
from reconfig.harness.machine import winograd
from reconfig.harness.machine.winograd import Kernel

_CONVOLUTIONS = {torch.conv1d, torch.conv2d, torch.conv3d}
_PARAMETERS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_USUAL = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
_USUAL_NORM = {"weight": None, "bias": None, "training": False, "momentum": 0.1, "eps": 1e-5}
_SIZES = {
    *(Tensor.size, Tensor.dim, Tensor.ndimension, Tensor.numel, Tensor.stride, Tensor.is_contiguous, Tensor.__len__),
    *(
        getattr(Tensor, name).__get__
        for name in ("shape", "ndim", "dtype", "device", "layout", "requires_grad", "is_cuda", "is_leaf", "is_sparse")
    ),
}
"""What tells of a tensor without its numbers."""


class Norm(NamedTuple):
    """What a batch norm in eval mode multiplies and adds by."""

    mean: Tensor
    variance: Tensor
    weight: Tensor | None
    bias: Tensor | None
    eps: float

    def same(self, other: Norm) -> bool:
        """Whether these are the very tensors of ``other``."""
        return all(ours is theirs for ours, theirs in zip(self[:4], other[:4], strict=True)) and self.eps == other.eps

    def suits(self, input: Tensor) -> bool:
        """Whether a product and a sum give what the batch norm gives, its gradients too."""
        alike = all(each is None or each.dtype == input.dtype for each in self[:4])
        return alike and not any(each is not None and each.requires_grad for each in self[:4])

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weight and bias of the convolution before, which then does what both did."""
        factor, shift = self.factor_and_shift()
        if bias is not None:
            shift = shift + bias * factor
        return weight * factor.view(-1, *[1] * (weight.ndim - 1)), shift

    def factor_and_shift(self) -> tuple[Tensor, Tensor]:
        """What each channel is multiplied by, and what is added then."""
        factor = (self.variance + self.eps).rsqrt()
        if self.weight is not None:
            factor = factor * self.weight
        shift = -self.mean * factor
        return factor, shift if self.bias is None else shift + self.bias


class _ReadElsewhereError(Exception):
    """The output of a folded convolution went somewhere else than into its batch norm."""


class Folded(nn.Module):
    """``model`` with its batch norms folded, for forwards in eval mode whose weights do not change within ``fixed``.

    A forward in which a convolution's output goes elsewhere than in the one learnt from is done again as ``model``
    does it, so that every answer is the model's up to rounding. ``model`` itself stays as it is.

    Args:
        model: in any mode.
        example: images [N, C, H, W] that it runs on. Its forward on these says what can be folded.
        layout: what images and weights are turned into.
        tiles: whether 3x3 convolutions may be computed by tiles, see ``winograd``.
    """

    def __init__(
        self, model: nn.Module, example: Tensor, layout: torch.memory_format | None = None, tiles: bool = False
    ) -> None:
        super().__init__()
        self.model, self.layout, self.tiles = model, layout, tiles
        self.norms = foldable(model, example)
        self._made: dict[int, _Made] = {}
        self._scales: dict[int, _Scale] = {}

    @contextmanager
    def fixed(self) -> Iterator[None]:
        """Weights are the same from here to the end, and folded once."""
        try:
            yield
        finally:
            self._made.clear()
            self._scales.clear()

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes] of images [N, C, H, W]."""
        laid = images if self.layout is None else images.contiguous(memory_format=self.layout)
        try:
            with _Folding(self.norms, self._made, self._scales, self.layout, self.tiles) as folding:
                logits: Tensor = self.model(laid)
                folding.see(logits)
        except _ReadElsewhereError:
            return self.model(images)
        return logits


def in_form(form: AttackForm, model: nn.Module, example: Tensor) -> nn.Module:
    """``model`` as attacks run it in this form; ``example`` are images that it takes."""
    match form:
        case "folded":
            return Folded(model, example)
        case "folded-channels-last":
            return Folded(model, example, torch.channels_last)
        case "tiled":
            return Folded(model, example, torch.channels_last, tiles=True)
        case _:
            return model


@contextmanager
def fixed(model: nn.Module) -> Iterator[None]:
    """The weights of a network in any form do not change while this is open."""
    if isinstance(model, Folded):
        with model.fixed():
            yield
    else:
        yield


def foldable(model: nn.Module, example: Tensor) -> dict[int, tuple[Tensor, Norm]]:
    """Id of a convolution's weight -> that weight, and the batch norm that reads the convolution's output alone.

    ``model`` comes back in the modes that it was in.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), _Watching() as watching:
            watching.see(model(example))
    finally:
        for module, mode in modes:
            module.training = mode
    return watching.found()


class _Watching(TorchFunctionMode):
    """Sees where the outputs of convolutions go."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[int, tuple[Tensor, Tensor]] = {}  # with their weights; kept, as another would get the id
        self.readers: dict[int, list[Norm | None]] = {}

    def see(self, *read: Any) -> None:
        """Something that is no batch norm reads these."""
        for tensor in tree_leaves(read):
            if id(tensor) in self.outputs:
                self.readers[id(tensor)].append(None)

    def found(self) -> dict[int, tuple[Tensor, Norm]]:
        """The convolutions whose every use is read by the same batch norm alone."""
        uses: dict[int, tuple[Tensor, list[Norm | None]]] = {}
        for name, (_, weight) in self.outputs.items():
            readers = self.readers[name]
            uses.setdefault(id(weight), (weight, []))[1].append(readers[0] if len(readers) == 1 else None)
        return {
            name: (weight, norms[0])
            for name, (weight, norms) in uses.items()
            if norms[0] is not None and all(norm is not None and norm.same(norms[0]) for norm in norms)
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        norm = _norm(args, kwargs) if func is F.batch_norm else None
        if norm is not None and id(norm[0]) in self.outputs:
            self.readers[id(norm[0])].append(norm[1])
        elif func not in _SIZES:
            self.see(args, kwargs)
        result = func(*args, **kwargs)
        if func in _CONVOLUTIONS:
            self.outputs[id(result)] = result, _named(_PARAMETERS, _USUAL, args, kwargs)["weight"]
            self.readers[id(result)] = []
        return result


class _Made(NamedTuple):
    """What a convolution computes with, made once while weights are fixed."""

    weight: Tensor
    bias: Tensor | None
    kernel: Kernel | None


class _Scale(NamedTuple):
    """What a batch norm that is not folded computes with, made once while weights are fixed."""

    norm: Norm
    factor: Tensor
    shift: Tensor


class _Waiting(NamedTuple):
    """What a folded convolution returned, the batch norm that it waits for, and what that returns, once."""

    shown: weakref.ref[Tensor]
    norm: Norm
    output: Tensor | None


class _Folding(TorchFunctionMode):
    """Has convolutions do the work of their batch norms, and the other batch norms theirs in one pass."""

    def __init__(
        self,
        norms: Mapping[int, tuple[Tensor, Norm]],
        made: dict[int, _Made],
        scales: dict[int, _Scale],
        layout: torch.memory_format | None,
        tiles: bool,
    ) -> None:
        super().__init__()
        self.norms, self.made, self.scales, self.layout, self.tiles = norms, made, scales, layout, tiles
        self.waiting: dict[int, _Waiting] = {}

    def see(self, *read: Any) -> None:
        """Something that is not the right batch norm reads these.

        Raises:
            _ReadElsewhereError: If one of them still waits for its batch norm, or went through it.
        """
        if any(self._held(leaf) is not None for leaf in tree_leaves(read)):
            raise _ReadElsewhereError

    def _held(self, item: Any) -> _Waiting | None:
        held = self.waiting.get(id(item))
        return held if held is not None and held.shown() is item else None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        norm = _norm(args, kwargs) if func is F.batch_norm else None
        if norm is not None:
            held = self._held(norm[0])
            if held is not None and held.output is not None and held.norm.same(norm[1]):
                self.waiting[id(norm[0])] = held._replace(output=None)
                return held.output
        if func not in _SIZES:
            self.see(args, kwargs)
        if func in _CONVOLUTIONS:
            return self._convolve(func, **_named(_PARAMETERS, _USUAL, args, kwargs))
        if norm is not None and norm[1].suits(norm[0]):
            return self._scaled(*norm)
        return func(*args, **kwargs)

    def _convolve(self, func: Any, input: Tensor, weight: Tensor, bias: Tensor | None, **how: Any) -> Tensor:
        norm = self.norms.get(id(weight), (None, None))[1]
        if not isinstance(weight, nn.Parameter):  # made anew at every call
            return func(input, weight, bias, **how)
        if id(weight) not in self.made:
            self.made[id(weight)] = self._make(weight, bias, norm, self.tiles and winograd.suits(input, weight, **how))
        made = self.made[id(weight)]
        if made.kernel is not None and winograd.suits(input, weight, **how):
            output = winograd.convolve(input, made.kernel, made.bias)
        else:
            output = func(input, made.weight, made.bias, **how)
        if norm is None:
            return output
        # Another tensor of the same memory, so that who reads the one before the batch norm is noticed. This one is the
        # view, what the batch norm returns is not: autograd copies every gradient of a view that changes in place.
        shown = output.view_as(output)
        self.waiting[id(shown)] = _Waiting(weakref.ref(shown), norm, output)
        return shown

    def _scaled(self, input: Tensor, norm: Norm) -> Tensor:
        held = self.scales.get(id(norm.mean))
        if held is None or not held.norm.same(norm):
            with torch.no_grad():
                factor, shift = (each.view(-1, *[1] * (input.ndim - 2)) for each in norm.factor_and_shift())
            held = self.scales[id(norm.mean)] = _Scale(norm, factor, shift)
        return torch.addcmul(held.shift, input, held.factor)

    @torch.no_grad()
    def _make(self, weight: Tensor, bias: Tensor | None, norm: Norm | None, tiles: bool) -> _Made:
        made, shift = (weight.detach(), bias) if norm is None else norm.fold(weight, bias)
        if self.layout is not None and made.ndim == 4:
            made = made.contiguous(memory_format=self.layout)
        return _Made(made, shift, winograd.kernel(made) if tiles else None)


def _norm(args: Any, kwargs: Any) -> tuple[Tensor, Norm] | None:
    """The input and the numbers of a call of ``batch_norm``; None where it takes its batch's own statistics."""
    call = _named(_NORM, _USUAL_NORM, args, kwargs)
    if call["training"] or call["running_mean"] is None or call["running_var"] is None:
        return None
    return call["input"], Norm(call["running_mean"], call["running_var"], call["weight"], call["bias"], call["eps"])


def _named(names: tuple[str, ...], usual: Mapping[str, Any], args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of a call by name."""
    return {**usual, **dict(zip(names, args, strict=False)), **kwargs}
