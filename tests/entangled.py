"""Models that hold on to themselves by other ways than their modules: what a copy could leave with the original."""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE = torch.zeros(2, 3, 8, 8)
CASES: dict[str, Callable[[], nn.Module]] = {}
REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {}


class Small(nn.Module):
    runs = 0

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.Linear(16, 5)

    def features(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))

    def forward(self, x: Tensor) -> Tensor:
        Small.runs += 1
        return self.head(self.features(x).mean((2, 3)))


Maker = Callable[[], nn.Module]
NET: Any = None  # a script's variable
TRAINERS: list[object] = []


def separated(maker: Maker) -> Maker:
    """Enter a model that has to be copied whole and scaled."""
    assert CASES.setdefault(maker.__name__, maker) is maker
    return maker


def refused(message: str) -> Callable[[Maker], Maker]:
    """Enter a model that has to be refused with this message."""

    def enter(maker: Maker) -> Maker:
        assert REFUSED.setdefault(maker.__name__, (maker, message)) == (maker, message)
        return maker

    return enter


# -- compiled ----------------------------------------------------------------------------------------------------------


@separated
def compiled_in_place() -> nn.Module:
    model = Small()
    model.compile(backend="eager")
    return model


@separated
def compiled_submodule() -> nn.Module:
    model = Small()
    model.norm.compile(backend="eager")
    return model


@separated
def compiled_forward_of_an_instance() -> nn.Module:
    model = Small()
    model.forward = torch.compile(model.forward, backend="eager")
    return model


@separated
def compiled_method_of_an_instance() -> nn.Module:
    model = Small()
    model.features = torch.compile(model.features, backend="eager")
    return model


@separated
def compilation_disabled_on_an_instance() -> nn.Module:
    model = Small()
    model.features = torch.compiler.disable(model.features)
    return model


@refused(r"module 'conv' is wrapped by torch\.compile: put back what is inside \(\._orig_mod\)")
def compiled_submodule_that_is_wrapped() -> nn.Module:
    model = Small()
    model.conv = torch.compile(model.conv, backend="eager")
    return model


# -- functions ---------------------------------------------------------------------------------------------------------


@separated
def forward_of_an_instance() -> nn.Module:
    def forward(self: Small, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))

    model = Small()
    model.forward = types.MethodType(forward, model)
    return model


@separated
def forward_that_is_a_closure() -> nn.Module:
    model = Small()
    model.forward = lambda x: model.head(model.features(x).mean((2, 3)))
    return model


@separated
def closure_over_a_submodule_in_a_list_in_a_closure() -> nn.Module:
    model = Small()
    kept = [("norm", model.norm)]

    def inner(x: Tensor) -> Tensor:
        return kept[0][1](x)

    model.features = lambda x, first=model.conv, **_: torch.relu(inner(first(x)))
    return model


@separated
def closures_that_call_each_other() -> nn.Module:
    model = Small()

    def even(x: Tensor, left: int) -> Tensor:
        return model.norm(model.conv(x)) if left == 0 else odd(x, left - 1)

    def odd(x: Tensor, left: int) -> Tensor:
        return even(x, left - 1)

    model.features = functools.partial(even, left=2)
    return model


@separated
def partial_of_a_bound_method() -> nn.Module:
    model = Small()
    model.features = functools.partial(model.features)
    return model


@separated
def partial_of_a_closure_with_a_wrapped_method() -> nn.Module:
    model = Small()
    old = model.features

    @functools.wraps(old)
    def features(*args: Any) -> Tensor:
        return old(*args)

    model.features = functools.partial(features)
    return model


@separated
def bound_method_of_a_list() -> nn.Module:
    model = Small()
    model.layers = [model.conv, model.norm]
    model.layer = model.layers.__getitem__
    model.keep = model.layers.append
    model.features = types.MethodType(lambda self, x: torch.relu(self.layer(1)(self.layer(0)(x))), model)
    return model


@refused(r"'features' \(a function\) leads to 'the model itself' of the model, and so would a copy of it; remove the")
def function_that_reads_a_global() -> nn.Module:
    global NET
    NET = model = Small()
    model.features = _features_of_the_global
    return model


def _features_of_the_global(x: Tensor) -> Tensor:
    return torch.relu(NET.norm(NET.conv(x)))


class ReadsGlobal(Small):
    def features(self, x: Tensor) -> Tensor:
        return _features_of_the_global(x)


@refused(r"'ReadsGlobal\.features' \(a function\) leads to .*, and copies share their class: keep it in the instance")
def method_that_calls_a_function_that_reads_a_global() -> nn.Module:
    global NET
    NET = ReadsGlobal()
    return NET


# -- accelerate --------------------------------------------------------------------------------------------------------


@separated
def prepared_by_accelerate() -> nn.Module:
    accelerate = pytest.importorskip("accelerate")
    state = accelerate.state.AcceleratorState
    state._reset_state(reset_partial_state=True)  # one a process, and other tests take other precisions
    model = accelerate.Accelerator(cpu=True, mixed_precision="bf16").prepare(Small())
    state._reset_state(reset_partial_state=True)
    assert "forward" in vars(model)
    return model


@separated
def given_a_hook_by_accelerate() -> nn.Module:
    hooks = pytest.importorskip("accelerate.hooks")
    model = Small()
    hooks.add_hook_to_module(model.conv, hooks.ModelHook())
    hooks.add_hook_to_module(model, hooks.ModelHook())
    return model


# -- caches ------------------------------------------------------------------------------------------------------------


class Cached(Small):
    @functools.lru_cache  # noqa: B019
    def scale(self, channels: int) -> Tensor:
        return torch.full((channels, 1, 1), 2.0) + 0 * self.head.weight.sum()

    @functools.cached_property
    def spread(self) -> Tensor:
        return self.conv.weight.detach().flatten(1).std(1)[:, None, None]

    def features(self, x: Tensor) -> Tensor:
        x = super().features(x)
        return x * self.scale(x.shape[1]) * self.spread


@separated
def cached_method_and_property() -> nn.Module:
    model = Cached()
    model(IMAGE)
    assert "spread" in vars(model)
    return model


@separated
def cache_over_a_bound_method() -> nn.Module:
    model = Small()
    model.part = functools.lru_cache(maxsize=7)(model.get_submodule)
    model.features = types.MethodType(lambda self, x: torch.relu(self.part("norm")(self.part("conv")(x))), model)
    model(IMAGE)
    assert model.part.cache_info().currsize == 2
    return model


class Notes:
    __slots__ = ("__weakref__", "by_layer", "layer")

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self.by_layer = {layer: (layer.forward, {layer})}


@separated
def caches_in_plain_attributes() -> nn.Module:
    model = Small()
    model.order = {model.conv: 0, model.norm: 1}
    model.notes = Notes(model.conv)
    model.shared = (model.notes, frozenset({model.head}))
    model.call = model.conv.__call__
    model.represent = model.conv.__str__  # a method-wrapper
    model.kept = [model.features(IMAGE)]  # with the history of its gradient
    return model


# -- weak references ---------------------------------------------------------------------------------------------------


@separated
def weak_references() -> nn.Module:
    model = Small()
    model.conv.parent = weakref.ref(model)
    model.conv.after = weakref.WeakMethod(model.norm.forward)
    model.known = weakref.WeakSet([model.conv])
    model.by_name = weakref.WeakValueDictionary({"norm": model.norm})
    model.by_layer = weakref.WeakKeyDictionary({model.conv: [model.norm]})
    model.features = types.MethodType(
        lambda self, x: torch.relu(self.by_name["norm"](self.conv.parent().conv(x))), model
    )
    return model


@refused(r"'conv\.trainer' \(a ReferenceType\) leads to 'the model itself' of the model")
def weak_reference_to_something_that_holds_the_model() -> nn.Module:
    model = Small()
    TRAINERS.append(Trainer(model))
    model.conv.trainer = weakref.ref(TRAINERS[-1])
    return model


class Trainer:
    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, *args: object) -> None:
        raise AssertionError("the caller's hook was called")

    def __deepcopy__(self, memo: object) -> Trainer:
        raise ValueError("there is one trainer")


# -- other networks and what holds them --------------------------------------------------------------------------------


@refused(r"'average' \(a list\) keeps a second network like 'the model itself', which would stay as it is")
def average_in_a_list() -> nn.Module:
    model = Small()
    model.average = [Small()]
    model.average[0].load_state_dict(model.state_dict())
    return model


@refused(r"'trunk\.twin' \(a dict\) keeps a second network like 'trunk'")
def average_of_a_submodule() -> nn.Module:
    model = Small()
    model.trunk = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1))
    model.trunk.twin = {"net": nn.Sequential(nn.Conv2d(3, 3, 3, padding=1))}
    return model


@separated
def average_that_is_registered() -> nn.Module:
    model = Small()
    model.average = torch.optim.swa_utils.AveragedModel(model)
    return model


@separated
def teacher_in_a_list_and_in_a_closure() -> nn.Module:
    model = Small()
    teacher, other = nn.Sequential(nn.BatchNorm2d(3)), nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
    model.teacher = [teacher]
    model.features = lambda x: torch.relu(model.norm(model.conv(other(teacher(x)))))
    return model


@separated
def parameter_in_a_closure() -> nn.Module:
    model, shift = Small(), nn.Parameter(torch.zeros(3, 1, 1))
    model.features = lambda x: torch.relu(model.norm(model.conv(x + shift)))
    return model


@refused(r"'features' \(a function\) leads to the memory of 'conv\.weight'")
def view_of_a_parameter_in_a_closure() -> nn.Module:
    model = Small()
    weight = model.conv.weight.detach()
    model.features = lambda x: torch.relu(model.norm(F.conv2d(x, weight, padding=1)))
    return model


class Single(nn.Sequential):
    def __deepcopy__(self, memo: object) -> Single:
        return self


@refused(r"module 'first' \(Single\) cannot be copied: copy\.deepcopy returns the module itself")
def submodule_shared_by_all_copies() -> nn.Module:
    model = Small()
    model.first = Single(nn.BatchNorm2d(3))
    model.forward = types.MethodType(lambda self, x: Small.forward(self, self.first(x)), model)
    return model


@separated
def shared_submodule() -> nn.Module:
    model = Small()
    model.again = model.norm
    model.features = lambda x: torch.relu(model.again(model.norm(model.conv(x))))
    return model


class Registers(Small):
    current: nn.Module

    def __init__(self) -> None:
        super().__init__()
        Registers.current = self.conv


@refused(r"'Registers\.current' \(a Conv2d\) leads to 'conv' of the model, .* copies share their class")
def class_attribute() -> nn.Module:
    return Registers()


@separated
def hook_that_holds_the_model() -> nn.Module:
    model = Small()
    trainer = Trainer(model)
    model.norm.register_forward_hook(trainer)
    model.register_forward_pre_hook(trainer)
    model.handle = model.conv.register_forward_hook(lambda *_: model.norm.eval())
    model.register_state_dict_post_hook(lambda *_: model.norm.eval())
    model.register_load_state_dict_pre_hook(lambda module, *_: model.norm.eval())
    return model


@refused(r"'norm\.trainer' \(a Trainer\) cannot be copied: there is one trainer; remove the attribute before")
def attribute_that_cannot_be_copied() -> nn.Module:
    model = Small()
    model.norm.trainer = Trainer(model)
    return model


@refused(r"'norm\.callback' \(a function\) cannot be copied: there is one trainer; remove the attribute before")
def closure_over_what_cannot_be_copied() -> nn.Module:
    model = Small()
    trainer = Trainer(model)
    model.norm.callback = lambda: trainer.model
    return model


class Shared:
    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __deepcopy__(self, memo: object) -> Shared:
        return self


@refused(r"'context' \(a Shared\) leads to 'the model itself' of the model")
def object_shared_by_all_copies() -> nn.Module:
    model = Small()
    model.context = Shared(model)
    return model


@separated
def traced_by_fx() -> nn.Module:
    return torch.fx.symbolic_trace(Small())


def forget() -> None:
    """Let go of what the models above left in variables and classes."""
    global NET
    NET = None
    TRAINERS.clear()
    if "current" in vars(Registers):
        del Registers.current
