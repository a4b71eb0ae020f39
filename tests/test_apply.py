"""The promises of ``apply``: the paper's counts to the last parameter, and it stays your model."""

from __future__ import annotations

import copy
import io
import json
import pickle
import random
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from fvcore.nn import FlopCountAnalysis, parameter_count
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import reconfig
from reconfig import zoo

# Huang et al., NeurIPS 2021: exact counts of the published layer shapes (Table 1, Table 2 and the text).
PAPER = [
    ("vgg11", "10-10-4", 1.0, 9_231_114, 5_830_475),
    ("densenet121", "10-10-4", 1.0, 6_956_298, 5_999_686),
    ("darts", "10-10-4", 1.0, 6_579_118, 2_526_970),
    ("wrn34_10", "10-10-4", 0.25, 46_160_474, 1_074_170),
    ("wrn34_10", "10-10-4", 0.5, 46_160_474, 4_273_818),
    ("wrn34_10", "10-10-4", 1.0, 46_160_474, 17_050_970),
    ("wrn34_10", "10-10-4", 1.5, 46_160_474, 38_331_930),
    ("wrn34_10", "10-10-4", 2.0, 46_160_474, 68_116_698),
    ("wrn34_10", "d9-7-1", 1.0, 46_160_474, 22_193_754),
    ("wrn34_10", "d7-9-3 w10-10-4", 1.0, 46_160_474, 22_990_426),
    ("wrn34_10", "d5-5-1 w10-10-2", 1.0, 46_160_474, 11_474_522),
]


@pytest.mark.parametrize(("name", "rule", "gamma", "before", "after"), PAPER)
def test_the_papers_counts(name: str, rule: str, gamma: float, before: int, after: int) -> None:
    model = getattr(zoo, name)()
    assert parameter_count(model)[""] == before
    plan = reconfig.plan(model, rule, gamma=gamma)
    result = plan.apply(model)
    assert plan.params == after
    assert parameter_count(result)[""] == after
    assert (plan.params_before, parameter_count(model)[""]) == (before, before)
    assert not plan.frozen


def test_the_papers_count_with_100_classes() -> None:
    assert sum(p.numel() for p in zoo.wrn34_12(num_classes=100).parameters()) == 66_527_028
    plan = reconfig.plan(zoo.wrn34_10(num_classes=100), "10-10-4", gamma=2)
    assert plan.params == 68_162_868


@pytest.mark.parametrize("name", ["vgg11", "preactresnet18"])
def test_multiply_adds_are_fvcores(name: str) -> None:
    model = getattr(zoo, name)().eval()
    plan = reconfig.plan(model, "10-10-4", gamma=0.5)
    image = torch.zeros(1, 3, 32, 32)
    for network, planned in ((model, plan.flops_before), (plan.apply(model), plan.flops)):
        counted = FlopCountAnalysis(network, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        assert counted.total() == planned


class Small(nn.Module):
    """Two stages, a residual, and everything that a copy could lose."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.down = nn.Conv2d(8, 20, 3, stride=2, padding=1)
        self.block = nn.Sequential(nn.Conv2d(20, 20, 3, padding=1), nn.BatchNorm2d(20), nn.ReLU())
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(20, 5)
        self.register_buffer("scale", torch.tensor(2.0))
        self.note = {"kept": [1, 2, 3]}
        self.plain = torch.arange(3.0)  # neither parameter nor buffer
        self.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(torch.relu(self.norm(self.stem(x))))
        x = x + self.block(x)
        return self.head(self.drop(x.mean((2, 3))) * self.scale)


@pytest.fixture
def small() -> Small:
    return Small()


@pytest.fixture
def image() -> Tensor:
    return torch.rand(4, 3, 16, 16)


def _snapshot(model: nn.Module) -> tuple[object, ...]:
    return (
        {name: (tensor.clone(), tensor.data_ptr()) for name, tensor in model.state_dict().items()},
        [module.training for module in model.modules()],
        torch.get_rng_state(),
        random.getstate(),
        np.random.get_state()[1].tolist(),  # type: ignore[union-attr]
    )


def test_the_original_is_left_as_it_was(small: Small) -> None:
    small.train()
    small.block.eval()
    tensors, *before = _snapshot(small)
    reconfig.apply(small, "10-4", gamma=1.5)
    after_tensors, *after = _snapshot(small)
    assert list(tensors) == list(after_tensors)  # type: ignore[call-overload]
    for name, (tensor, pointer) in tensors.items():  # type: ignore[attr-defined]
        assert torch.equal(tensor, after_tensors[name][0])  # type: ignore[index]
        assert pointer == after_tensors[name][1]  # type: ignore[index]
    assert before[0] == after[0]
    assert torch.equal(before[1], after[1])
    assert before[2:] == after[2:]


def test_the_result_is_the_same_kind_of_model(small: Small, image: Tensor) -> None:
    small.block.eval()
    small.stem.weight.requires_grad_(False)
    result = reconfig.apply(small, "10-4")
    assert type(result) is Small
    assert list(result.state_dict()) == list(small.state_dict())
    assert [m.training for m in result.modules()] == [m.training for m in small.modules()]
    assert [p.requires_grad for p in result.parameters()] == [p.requires_grad for p in small.parameters()]
    assert result.note == small.note
    assert result.note is not small.note
    assert torch.equal(result.plain, small.plain)
    assert torch.equal(result.scale, small.scale)
    assert result(image).shape == small(image).shape
    assert (result.down.out_channels, result.block[1].num_features, result.head.in_features) == (8, 8, 8)
    assert result.stem.out_channels == 8
    result(image).sum().backward()
    assert all(p.grad is not None for p in result.parameters() if p.requires_grad)
    shared = {t.data_ptr() for t in small.state_dict().values()} & {t.data_ptr() for t in result.state_dict().values()}
    assert not shared


def test_copies_pickles_saves(small: Small, image: Tensor) -> None:
    result = reconfig.apply(small, "10-4").eval()
    expected = result(image)
    assert torch.equal(copy.deepcopy(result)(image), expected)
    assert torch.equal(pickle.loads(pickle.dumps(result))(image), expected)
    file = io.BytesIO()
    torch.save(result.state_dict(), file)
    file.seek(0)
    other = reconfig.plan(small, "10-4").apply(Small()).eval()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(image), expected)


def test_compiles_and_exports() -> None:
    result = reconfig.apply(zoo.wrn(10, 1), "10-10-4", gamma=0.5).eval()
    image = torch.rand(2, 3, 32, 32)
    expected = result(image)
    torch.testing.assert_close(torch.compile(result, backend="aot_eager")(image), expected)
    torch.testing.assert_close(torch.export.export(result, (image,)).module()(image), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_keeps_the_dtype(dtype: torch.dtype, image: Tensor) -> None:
    result = reconfig.apply(Small(dtype), "10-4")
    assert {p.dtype for p in result.parameters()} == {dtype}
    assert result(image.to(dtype)).dtype == dtype
    assert all(p.isfinite().all() for p in result.parameters())


def test_hooks_stay_with_the_caller(small: Small, image: Tensor) -> None:
    seen: list[str] = []
    small.down.register_forward_hook(lambda *_: seen.append("forward"))
    small.down.register_forward_pre_hook(lambda *_: seen.append("pre"))
    result = reconfig.apply(small, "10-4")
    result(image)
    assert seen == []
    small(image)
    assert seen == ["pre", "forward"]


def test_the_same_seed_gives_the_same_weights(small: Small) -> None:
    torch.manual_seed(3)
    first = reconfig.apply(small, "10-4")
    torch.manual_seed(3)
    second = reconfig.apply(small, "10-4")
    torch.manual_seed(4)
    third = reconfig.apply(small, "10-4")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.down.weight, third.down.weight)


def test_shared_parameters_stay_shared() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 12, 3, padding=1)
            self.a = nn.Conv2d(12, 12, 3, padding=1)
            self.b = nn.Conv2d(12, 12, 3, padding=1)
            self.b.weight = self.a.weight
            self.head = nn.Linear(12, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.b(torch.relu(self.a(self.first(x)))).mean((2, 3)))

    plan = reconfig.plan(Tied(), "5-5", example_input=torch.zeros(1, 3, 8, 8))
    result = plan.apply(Tied())
    assert result.a.weight is result.b.weight
    assert result.a.weight.shape == (6, 6, 3, 3)
    assert plan.params == sum(p.numel() for p in result.parameters())


class _Allocations(TorchDispatchMode):
    """Adds up what is allocated anywhere but on meta."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, tuple | list) else (result,):
            if isinstance(item, Tensor) and item.device.type != "meta":
                self.bytes += item.untyped_storage().nbytes()
        return result


def test_planning_allocates_nothing() -> None:
    model = zoo.wrn34_10()
    with _Allocations() as allocated:
        reconfig.plan(model, "d7-9-3 w10-10-4", gamma=2)
        reconfig.plan(model, budget=66_457_818)
    assert allocated.bytes < 1000  # a few generator states, against 184 MB of parameters
    with _Allocations() as control:
        torch.zeros(1000)
    assert control.bytes == 4000


@pytest.mark.parametrize(
    ("wrap", "correction"),
    [
        (nn.DataParallel, r"DataParallel\(reconfig.apply\(model.module"),
        (torch.compile, r"torch.compile\(reconfig.apply\(model._orig_mod"),
    ],
)
def test_wrapped_models(small: Small, wrap: Callable[[nn.Module], nn.Module], correction: str) -> None:
    with pytest.raises(reconfig.ModelError, match=correction):
        reconfig.apply(wrap(small))


def test_distributed_models(small: Small, tmp_path: object) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(small)
        with pytest.raises(reconfig.ModelError, match=r"wrapped in DistributedDataParallel: .*apply\(model.module"):
            reconfig.apply(wrapped)
        result = nn.parallel.DistributedDataParallel(reconfig.apply(small, "10-4"))
        result(torch.rand(2, 3, 16, 16)).sum().backward()
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (None, "must be a torch.nn.Module, not NoneType"),
        ("resnet50", "must be a torch.nn.Module, not str"),
        (torch.relu, "must be a torch.nn.Module, not builtin"),
        (Small, r"is the class Small, not an instance: pass Small\(...\)"),
    ],
)
def test_no_module(thing: object, message: str) -> None:
    with pytest.raises(reconfig.ModelError, match=message):
        reconfig.apply(thing)  # type: ignore[arg-type]


def test_no_convolution() -> None:
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(reconfig.ModelError, match="has no convolution"):
        reconfig.apply(mlp)
    with pytest.raises(reconfig.ModelError, match="has no convolution"):
        reconfig.apply(mlp, example_input=torch.zeros(1, 3, 2, 2))


def test_lazy_and_scripted() -> None:
    with pytest.raises(reconfig.ModelError, match="has no shape yet: run the model once"):
        reconfig.apply(nn.Sequential(nn.LazyConv2d(4, 3)))
    with warnings.catch_warnings(action="ignore"):  # deprecated, and still met
        scripted = torch.jit.trace(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8))
    with pytest.raises(reconfig.ModelError, match="TorchScript"):
        reconfig.apply(scripted)


def test_unknown_weights(small: Small) -> None:
    with pytest.raises(reconfig.ReconfigError, match=r"weights='pretrained' is unknown; choose one of 'fresh'"):
        reconfig.apply(small, "10-4", weights="pretrained")


def test_plan_is_json_all_the_way(small: Small) -> None:
    plan = reconfig.plan(small, "10-4", gamma=1.3)
    assert json.loads(plan.to_json())["gamma"] == 1.3


@pytest.mark.parametrize("weights", ["fresh", "inherit"])
def test_a_model_without_weights_gives_one_without(weights: str) -> None:
    """On the meta device, as loaders make a network that they fill themselves."""
    with torch.device("meta"):
        model = zoo.vgg11()
    plan = reconfig.plan(zoo.vgg11(), "10-10-4", weights=weights)
    result = plan.apply(model)
    assert all(tensor.is_meta for tensor in (*result.parameters(), *result.buffers()))
    assert plan.params == sum(parameter.numel() for parameter in result.parameters())
    assert isinstance(next(result.parameters()), nn.Parameter)
    trained = plan.apply(zoo.vgg11())
    result.load_state_dict(trained.state_dict(), assign=True)
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(result.eval()(x), trained.eval()(x))
