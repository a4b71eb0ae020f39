from __future__ import annotations

import copy
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import reconfig
from reconfig import zoo
from reconfig.errors import InputError
from reconfig.trace.example import probe
from reconfig.trace.record import capture
from reconfig.trace.skeleton import make_skeleton, tensors_of
from reconfig.trace.watch import preserved_rng

HERE = Path(__file__)


def image(size: int = 8, channels: int = 3, device: str = "meta") -> Tensor:
    return torch.zeros(2, channels, size, size, device=device)


def captured(model: nn.Module, x: Tensor | None = None, *, training: bool = False) -> Any:
    return capture(make_skeleton(model), (image() if x is None else x,), training=training)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        return self.head(x.mean((2, 3)))


# -- nothing is allocated ----------------------------------------------------------------------------------------------


class NothingReal(TorchDispatchMode):
    """Fails where a tensor of more than a kilobyte comes to life outside of the meta device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor) and tensor.device.type != "meta":
                size = tensor.untyped_storage().nbytes()
                assert size <= 1024, f"{func} made {size:,} bytes on {tensor.device}"
        return result


def test_nothing_real_sees_an_allocation() -> None:
    with NothingReal(), pytest.raises(AssertionError, match="made 4,096 bytes on cpu"):
        torch.empty(1024)


@pytest.mark.parametrize("factory", [zoo.vgg11, lambda: zoo.wrn(10, 1), lambda: zoo.DenseNet((2, 2, 2, 2), growth=8)])
def test_planning_allocates_no_storage(factory: Callable[[], nn.Module]) -> None:
    model = factory()
    with NothingReal():
        bones = make_skeleton(model)
        assert {tensor.device.type for _, tensor in tensors_of(bones)} == {"meta"}
        assert reconfig.plan(model, "10-10-4", budget="params").params > 0


def test_skeleton_keeps_shapes_strides_names_dtypes_and_sharing() -> None:
    model = Small().to(torch.bfloat16).to(memory_format=torch.channels_last)
    model.again = model.conv
    model.head.bias.requires_grad_(False)
    bones = make_skeleton(model)
    assert type(bones) is Small
    assert bones.again is bones.conv
    old, new = dict(tensors_of(model)), dict(tensors_of(bones))
    assert old.keys() == new.keys()
    for name, tensor in old.items():
        mine = new[name]
        assert (mine.shape, mine.stride(), mine.dtype) == (tensor.shape, tensor.stride(), tensor.dtype), name
        assert (type(mine), mine.requires_grad) == (type(tensor), tensor.requires_grad), name
    assert not bones.training
    assert model.training


def test_skeleton_shares_what_the_model_shares() -> None:
    model = Small()
    model.other = nn.Conv2d(3, 16, 3)
    model.other.weight = model.conv.weight
    bones = make_skeleton(model)
    assert bones.other.weight is bones.conv.weight


def test_skeleton_on_the_cpu_is_a_copy() -> None:
    model = Small()
    bones = make_skeleton(model, "cpu")
    assert torch.equal(bones.conv.weight, model.conv.weight)
    bones.conv.weight.data.zero_()
    assert model.conv.weight.any()


# -- what belongs to the caller ----------------------------------------------------------------------------------------


class Trainer:
    """Something that must be neither copied nor called."""

    calls = 0

    def __call__(self, *args: Any) -> None:
        Trainer.calls += 1

    hook = __call__

    def __deepcopy__(self, memo: Any) -> Trainer:
        raise AssertionError("the caller's hook was copied")


def hooked() -> tuple[nn.Module, dict[str, int]]:
    model, trainer = Small(), Trainer()
    model.register_forward_hook(trainer)
    model.conv.register_forward_pre_hook(trainer.hook)
    model.conv.register_forward_hook(trainer.hook, always_call=True)
    model.norm.register_full_backward_hook(trainer)
    model.head.register_full_backward_pre_hook(trainer.hook)
    model.head.register_forward_hook(lambda *args, **kwargs: trainer(), with_kwargs=True)
    return model, count_hooks(model)


def count_hooks(model: nn.Module) -> dict[str, int]:
    return {
        f"{path}{name}": len(value)
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if "hook" in name and isinstance(value, dict) and value
    }


def test_hooks_are_not_run_not_copied_and_stay_with_the_caller() -> None:
    model, before = hooked()
    Trainer.calls = 0
    result = reconfig.apply(model, "5-5", example_input=image(device="cpu"))
    assert Trainer.calls == 0
    assert count_hooks(model) == before
    assert count_hooks(result) == {}
    result(image(device="cpu"))
    assert Trainer.calls == 0
    model(image(device="cpu"))
    assert Trainer.calls > 0


def test_a_function_that_is_a_hook_and_an_attribute_survives_as_an_attribute() -> None:
    def double(module: nn.Module, args: Any) -> None:
        return None

    model = Small()
    model.callback = double
    model.register_forward_pre_hook(double)
    assert reconfig.apply(model, "5-5", example_input=image(device="cpu")).callback is double


class Caching(Small):
    """Keeps what it computed of a parameter until it trains again."""

    cache: Tensor | None = None

    def train(self, mode: bool = True) -> Caching:
        super().train(mode)
        if mode:
            self.cache = None
        return self

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.cache is None:
            self.cache = self.conv.weight.square()
        return self.head(F.conv2d(x, self.cache).mean((2, 3)))


def test_what_a_model_keeps_until_it_trains_is_computed_anew() -> None:
    model = Caching().eval()
    with torch.no_grad():
        model(image(device="cpu"))
    result = reconfig.apply(model, "10-5", example_input=image(device="cpu"), stages={"*": 1})
    assert result(image(device="cpu")).shape == (2, 5)


class Collecting(Small):
    """Puts hooks on its own layers when it first runs, and counts on them from then on."""

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "collects"):
            self.collects = True
            self.norm.register_forward_hook(doubling("out"))
        return self.head(self.norm(self.conv(x)).mean((2, 3)))


def doubling(name: str) -> Callable[..., Tensor]:
    def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return torch.cat([output, output], 1) if name else output

    return hook


def test_hooks_that_a_model_of_a_library_puts_on_itself_are_its_own() -> None:
    model = Collecting()
    model.head = nn.Linear(32, 5)
    model(image(device="cpu"))
    result = reconfig.apply(model, "5-5", example_input=image(device="cpu"))
    assert count_hooks(result) == count_hooks(model)
    assert result(image(device="cpu")).shape == (2, 5)


def test_capture_leaves_no_hooks_behind() -> None:
    bones = make_skeleton(Small())
    capture(bones, (image(),))
    assert count_hooks(bones) == {}


class Drawing(Small):
    """Draws from every generator in its forward."""

    def forward(self, x: Tensor) -> Tensor:
        torch.rand(3, device="cpu")
        np.random.rand(3)
        random.random()
        return super().forward(F.dropout(x, 0.5, training=True))


def test_random_states_are_preserved() -> None:
    model = Drawing()
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), np.random.get_state()[2], random.getstate()
    reconfig.apply(model, "5-5", example_input=image(device="cpu"))
    with preserved_rng():
        torch.rand(3), np.random.rand(3), random.random()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert np.random.get_state()[2] == before[2]
    assert random.getstate() == before[3]


def test_random_states_are_preserved_when_the_forward_raises() -> None:
    class Broken(Drawing):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x)
            raise RuntimeError("no")

    model = Broken()
    before = torch.get_rng_state(), random.getstate()
    assert captured(model).error is not None
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


@pytest.mark.parametrize("mode", ["train", "eval", "mixed"])
def test_modes_are_preserved(mode: str) -> None:
    model = Small().train(mode != "eval")
    if mode == "mixed":
        model.norm.eval()
    before = {name: module.training for name, module in model.named_modules()}
    result = reconfig.apply(model, "5-5", example_input=image(device="cpu"))
    assert {name: module.training for name, module in model.named_modules()} == before
    assert {name: module.training for name, module in result.named_modules()} == before


def test_grad_mode_and_default_device_are_preserved() -> None:
    with torch.no_grad():
        reconfig.apply(Small(), "5-5", example_input=image(device="cpu"))
        assert not torch.is_grad_enabled()
    reconfig.apply(Small(), "5-5", example_input=image(device="cpu"))
    assert torch.is_grad_enabled()
    assert torch.empty(1).device.type == "cpu"


def test_a_model_can_be_reconfigured_under_inference_mode() -> None:
    model, x = Small(), image(device="cpu")
    with torch.inference_mode():
        result = reconfig.apply(model, "5-5", example_input=x)
    result(x).sum().backward()


# -- what is recorded --------------------------------------------------------------------------------------------------


def test_nodes_are_calls_parameters_and_inputs_in_order() -> None:
    found = captured(Small())
    names = [
        str(node.target) if isinstance(node.target, str) else getattr(node.target, "__name__", "?")
        for node in found.nodes
    ]
    assert names == [
        "input_0",
        *("conv.weight", "conv.bias", "conv2d"),
        *("norm.running_mean", "norm.running_var", "norm.weight", "norm.bias", "batch_norm"),
        *("relu", "mean", "head.weight", "head.bias", "linear"),
    ]
    assert [node.meta["shape"] for node in found.nodes][3:] == [
        (2, 16, 8, 8),
        *[(16,)] * 4,
        (2, 16, 8, 8),
        (2, 16, 8, 8),
        (2, 16),
        (5, 16),
        (5,),
        (2, 5),
    ]
    assert found.used() == {name for name, _ in tensors_of(Small()) if "batches" not in name}
    assert found.output is found.nodes[-1]


def test_calls_of_modules_know_their_nodes_and_shapes() -> None:
    found = captured(Small())
    calls = {call.path: call for call in found.module_calls}
    assert calls.keys() == {"", "conv", "norm", "head"}
    conv = calls["conv"]
    assert [node.meta["path"] for node in found.nodes[conv.start : conv.stop]] == ["conv"] * 3
    (taken,), (given,) = conv.inputs, conv.outputs
    assert taken == ((2, 3, 8, 8), found.nodes[0])
    assert given == ((2, 16, 8, 8), found.nodes[conv.stop - 1])
    assert (calls[""].start, calls[""].stop) == (1, len(found.nodes))


def test_a_module_called_twice_is_two_calls_of_one_parameter() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.conv(x))

    found = captured(Twice())
    assert [call.path for call in found.module_calls] == ["conv", "conv", ""]
    assert [node.target for node in found.nodes].count("conv.weight") == 1


def test_results_of_several_tensors_are_taken_apart() -> None:
    class Pieces(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Any]:
            first, second = x.split([1, 2], 1)
            values, indices = first.max(dim=1)
            return {"a": [second, values], "b": (indices,)}

    found = captured(Pieces())
    assert found.nodes[1].meta["shape"] == ((2, 1, 8, 8), (2, 2, 8, 8))
    assert [node.meta["shape"] for node in (*found.output["a"], *found.output["b"])] == [
        (2, 2, 8, 8),
        (2, 8, 8),
        (2, 8, 8),
    ]


def test_in_place_writes_are_recorded() -> None:
    class Writes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.clone()
            y[:, 0] = 1.0
            y += x
            return y

    found = captured(Writes())
    names = [getattr(node.target, "__name__", "") for node in found.nodes]
    assert names in (["", "clone", "__setitem__", name] for name in ("add_", "__iadd__"))
    assert found.output is found.nodes[-1]


def test_training_mode_is_recorded_on_demand() -> None:
    class Auxiliary(Small):
        def __init__(self) -> None:
            super().__init__()
            self.extra = nn.Conv2d(16, 4, 1)

        def forward(self, x: Tensor) -> Any:
            features = self.conv(x)
            logits = self.head(features.mean((2, 3)))
            return (logits, self.extra(features)) if self.training else logits

    model = Auxiliary()
    assert "extra.weight" not in captured(model).used()
    assert "extra.weight" in captured(model, training=True).used()
    assert [len(c.used()) for c in probe(model, image()).captures()] == [4, 6]


def test_sources_name_the_line_in_the_users_file() -> None:
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)  # conv
            return helper(x)

    def helper(x: Tensor) -> Tensor:
        return x.flatten(1)  # flatten

    lines = HERE.read_text().splitlines()
    found = captured(Written())
    for node in found.nodes[1:]:
        file, line = node.meta["source"]
        assert Path(file) == HERE, node
        name = getattr(node.target, "__name__", "conv")
        assert lines[line - 1].endswith("# flatten" if name == "flatten" else "# conv"), node


def test_sources_never_name_the_engine() -> None:
    """A model of torch's modules alone has no line of its own: better none than one of ours."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten())
    for node in probe(model, image()).first.nodes:
        file = Path(node.meta["source"][0])
        assert file.parent != Path(reconfig.__file__).parent, node.meta["source"]


def test_sources_of_the_zoo_are_named() -> None:
    found = captured(zoo.wrn(10, 1), image(32))
    files = {Path(node.meta["source"][0]).name for node in found.nodes if node.op == "call_function"}
    assert files == {"wrn.py"}


def test_only_the_models_own_calls_are_recorded() -> None:
    """The tensors that FastShapes makes for results are none of the model's."""

    class Custom(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Doubled.apply(x)

    targets = {getattr(node.target, "__name__", node.target) for node in captured(Custom()).nodes}
    assert targets == {"input_0", "add"}


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.add(x, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 2 * grad


@torch.jit.script
def scripted(x: Tensor) -> Tensor:
    return torch.sigmoid(x) + x


def test_what_torchscript_computes_comes_from_outside() -> None:
    class Scripted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return scripted(x) * 2

    targets = [getattr(node.target, "__name__", node.target) for node in captured(Scripted()).nodes]
    assert targets == ["input_0", "constant", "mul"] or targets == ["input_0", "constant", "__mul__"]


# -- what does not run -------------------------------------------------------------------------------------------------


def test_an_error_in_the_forward_is_returned_with_the_call_that_raised() -> None:
    class Wrong(Small):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x).flatten(1))

    found = captured(Wrong())
    assert isinstance(found.error, RuntimeError)
    assert found.nodes[-1].target in (F.linear, torch._C._nn.linear)
    assert found.nodes[-1].meta["shape"] is None
    assert found.output is None


def test_an_error_of_the_users_own_is_returned() -> None:
    class Refuses(Small):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyError("nothing here")

    assert isinstance(captured(Refuses()).error, KeyError)
    with pytest.raises(InputError, match=r"Refuses does not run on the example input .*nothing here"):
        reconfig.plan(Refuses(), example_input=image(device="cpu"))


def test_keyboard_interrupt_is_not_swallowed() -> None:
    class Stopped(Small):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        captured(Stopped())


class NeedsNumbers(Small):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        scale = 2.0 if x.abs().max().item() > 1e6 else 1.0
        return self.head((x * scale).mean((2, 3)))


class FixedDevice(Small):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.zeros(1, device="cpu").expand(2, 3, 8, 8).contiguous())


class ListOfTensors(Small):
    def __init__(self) -> None:
        super().__init__()
        self.shifts = [torch.zeros(1, 3, 1, 1)]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + self.shifts[0])


@pytest.mark.parametrize("kind", [NeedsNumbers, FixedDevice, ListOfTensors])
def test_a_model_that_needs_numbers_runs_on_the_cpu(kind: type[nn.Module]) -> None:
    model = kind()
    found = probe(model, image(device="cpu"))
    assert found.inputs[0].device.type == "cpu"
    plan = reconfig.plan(model, "5-5", example_input=image(device="cpu"))
    assert plan.device == "cpu"
    result = plan.apply(model)
    assert result.conv.weight.shape == (8, 3, 3, 3)
    assert result(image(device="cpu")).shape == (2, 5)
    assert model.conv.weight.shape == (16, 3, 3, 3)


def test_a_tensor_kept_as_a_plain_attribute_is_moved() -> None:
    class Keeps(Small):
        def __init__(self) -> None:
            super().__init__()
            self.shift = torch.zeros(1, 3, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + self.shift)

    model = Keeps()
    assert probe(model, image(device="cpu")).inputs[0].device.type == "meta"
    assert reconfig.apply(model, "5-5", example_input=image(device="cpu")).shift.device.type == "cpu"


def test_old_weight_norm_and_spectral_norm_are_kept() -> None:
    """Hooks of torch.nn.utils compute parameters, so they are the model's own."""
    model = Small()
    model.conv = nn.utils.spectral_norm(model.conv)
    result = reconfig.apply(model, "5-5", example_input=image(device="cpu"))
    assert result(image(device="cpu")).shape == (2, 5)
    assert count_hooks(result).keys() == count_hooks(model).keys()


def test_a_deep_copy_of_a_result_and_its_pickle_work() -> None:
    result = reconfig.apply(Small(), "5-5", example_input=image(device="cpu"))
    assert copy.deepcopy(result)(image(device="cpu")).shape == (2, 5)
