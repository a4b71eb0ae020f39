"""Plans: data that prints, round-trips, counts and applies; what is frozen, and why."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from graphs import SIDE, Network, Spec, check
from torch import Tensor, nn

import reconfig
from reconfig import Plan, zoo
from reconfig.trace.example import probe

IMAGE = torch.zeros(1, 3, 16, 16)


class Net(nn.Module):
    """Two stages and a head that flattens."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, width, 3, stride=2, padding=1)
        self.fc_size = width * 64
        self.head = nn.Linear(self.fc_size, 3)

    def flat(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flat(self.b(self.a(x).relu()).relu()))


class Literal(Net):
    def flat(self, x: Tensor) -> Tensor:
        return x.view(-1, 1024)


class Stale(Net):
    def flat(self, x: Tensor) -> Tensor:
        return x.view(-1, self.fc_size)


class Unknown(Net):
    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x).relu())
        return self.head(torch.linalg.qr(x.flatten(2).transpose(1, 2)).Q.flatten(1))


def test_a_plan_round_trips_and_gives_the_same_network() -> None:
    model = zoo.resnet18()
    plan = reconfig.plan(model, "d2-2-2-3 w10-10-10-4", gamma=0.5)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    torch.manual_seed(0)
    first = plan.apply(model)
    torch.manual_seed(0)
    second = again.apply(model)
    for (name, a), (other, b) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(a, b)


def test_a_checkpoint_of_the_variant_loads_from_factory_and_plan() -> None:
    plan = reconfig.plan(zoo.wrn(10, 1), "10-10-4")
    trained = plan.apply(zoo.wrn(10, 1))
    loaded = Plan.from_json(plan.to_json()).apply(zoo.wrn(10, 1))
    loaded.load_state_dict(trained.state_dict())
    image = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded.eval()(image), trained.eval()(image))


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"format": 3}', '{"format": 2}', '{"format": 1, "rule": "10-4"}']
)
def test_what_is_no_plan(text: str) -> None:
    with pytest.raises(
        reconfig.PlanError, match=r"not a plan written by Plan.to_json\(\).*make one with reconfig.plan"
    ):
        Plan.from_json(text)


def test_a_plan_for_another_architecture() -> None:
    plan = reconfig.plan(Net(), "10-4", example_input=IMAGE)
    with pytest.raises(
        reconfig.PlanError, match=r"made for another architecture \(Net\): 'b.bias' is \(20,\) in the model and \(16,\)"
    ):
        plan.apply(Net(20))
    with pytest.raises(reconfig.PlanError, match=r"'a.bias' is missing in the model and \(8,\) in the plan"):
        plan.apply(nn.Conv2d(3, 4, 3))


def test_a_plan_cannot_be_changed() -> None:
    plan = reconfig.plan(Net(), "10-4", example_input=IMAGE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.gamma = 3.0  # type: ignore[misc]


def test_the_table() -> None:
    assert str(reconfig.plan(zoo.wrn34_10(), "d5-5-1 w10-10-4")) == (
        "WideResNet, rule d5-5-1 w10-10-4, gamma 1\n"
        "stage  resolution  blocks       width               parameters\n"
        "--------------------------------------------------------------\n"
        "    1       32x32       5         160                2,102,400\n"
        "    2       16x16       5         320                8,812,800\n"
        "    3         8x8  5 -> 1  640 -> 256  35,238,400 -> 1,410,048\n"
        "parameters 46,160,474 -> 12,328,282, multiply-adds 6,664,714,496 -> 4,499,671,552"
    )


# -- numbers in the code -----------------------------------------------------------------------------------------------


def test_sizes_that_follow() -> None:
    plan = reconfig.plan(Net(), "10-5", example_input=IMAGE)
    assert (plan.stages[1].width, plan.frozen) == ((16, 8), ())


def test_a_number_that_a_module_keeps_is_corrected() -> None:
    model = Stale()
    result = reconfig.apply(model, "10-5", example_input=IMAGE)
    assert (model.fc_size, result.fc_size) == (1024, 512)
    assert result(torch.rand(2, 3, 16, 16)).shape == (2, 3)


def test_a_number_in_the_code_freezes_its_width() -> None:
    plan = reconfig.plan(Literal(), "10-5", example_input=IMAGE)
    (frozen,) = plan.frozen
    assert (frozen.stage, frozen.layers, frozen.width) == (2, ("b",), 16)
    assert frozen.reason.startswith("the number 1024 written in the code: Tensor.view at test_plan.py:")
    assert plan.stages[1].width == (16, 16)
    assert "frozen at 16 in stage 2 (b): the number 1024 written in the code" in str(plan)
    assert plan.apply(Literal())(torch.rand(2, 3, 16, 16)).shape == (2, 3)


def test_an_unknown_call_freezes_what_flows_into_it() -> None:
    plan = reconfig.plan(Unknown(), "10-5", example_input=IMAGE)
    assert [frozen.layers for frozen in plan.frozen] == [("b",)]
    assert "unknown call" in plan.frozen[0].reason
    assert "qr at test_plan.py:" in plan.frozen[0].reason


def test_strict_turns_frozen_into_an_error() -> None:
    with pytest.raises(
        reconfig.FrozenError, match=r"1 widths cannot be scaled, the first in stage 2 \(b\): the number 1024"
    ):
        reconfig.apply(Literal(), "10-5", example_input=IMAGE, strict=True)
    reconfig.apply(Stale(), "10-5", example_input=IMAGE, strict=True)


# -- budgets -----------------------------------------------------------------------------------------------------------


def test_gamma_is_solved_for_the_papers_comparison() -> None:
    plan = reconfig.plan(zoo.wrn34_10(), "10-10-4", budget=66_457_818)
    assert abs(plan.params / 66_457_818 - 1) < 0.005
    assert plan.gamma == pytest.approx(1.975, abs=0.005)
    assert (plan.budget, plan.budget_of) == (66_457_818, "params")
    assert "budget 66,457,818 params: met to +0.005%" in str(plan)


@pytest.mark.parametrize("budget", ["params", "flops"])
@pytest.mark.parametrize("name", ["vgg11", "resnet18"])
def test_a_budget_of_the_originals_own(name: str, budget: str) -> None:
    plan = reconfig.plan(getattr(zoo, name)(), "10-10-4", budget=budget)
    before, after = (plan.params_before, plan.params) if budget == "params" else (plan.flops_before, plan.flops)
    assert abs(after / before - 1) < 0.01
    assert plan.gamma > 1


def test_solving_takes_no_time_beside_the_capture() -> None:
    model = zoo.wrn34_10()

    def seconds(budget: int | None) -> float:
        start = time.process_time()
        reconfig.plan(model, "10-10-4", budget=budget, example_input=torch.zeros(1, 3, 32, 32))
        return time.process_time() - start

    seconds(None)
    without, solved = min(seconds(None) for _ in range(3)), min(seconds(66_457_818) for _ in range(3))
    assert solved - without < 0.1


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (
            0,
            "must be 'params' .* a number of parameters above 0, or a pair .*, not 0; write e.g. budget='params'",
        ),
        (-5, "not -5"),
        (1.5, "not 1.5"),
        ("size", "not 'size'"),
        (True, "not True"),
        (10, r"budget of 10 params is below what this rule can reach: .* the model has 233;"),
        (10**12, r"budget of 1,000,000,000,000 params is out of reach: at gamma 64 the model has"),
    ],
)
def test_budgets_that_cannot_be(budget: object, message: str) -> None:
    with pytest.raises(reconfig.BudgetError, match=message):
        reconfig.plan(Net(), "10-4", budget=budget, example_input=IMAGE)  # type: ignore[arg-type]


def test_gamma_and_budget() -> None:
    with pytest.raises(
        reconfig.BudgetError, match=r"gamma=2 and budget='params': a budget solves for gamma, so give one"
    ):
        reconfig.plan(Net(), "10-4", gamma=2, budget="params", example_input=IMAGE)


# -- depth -------------------------------------------------------------------------------------------------------------


def test_depth_drops_and_clones_blocks() -> None:
    model = zoo.wrn(16, 1)
    result = reconfig.apply(model, "d3-1-2")
    assert [len(group.layer) for group in result.blocks] == [3, 1, 2]
    assert "blocks.0.layer.2.conv1.weight" in result.state_dict()
    assert result.blocks[0].layer[1].conv1.weight is not result.blocks[0].layer[2].conv1.weight
    result(torch.rand(2, 3, 32, 32)).sum().backward()


def test_a_depth_that_is_already_there_changes_nothing() -> None:
    plan = reconfig.plan(zoo.wrn(16, 1), "d2-2-2")
    assert (plan.depth, plan.params) == ((), plan.params_before)


def test_a_plain_stage_has_a_depth_of_one() -> None:
    plan = reconfig.plan(zoo.vgg11(), "d1-1-1-1-1")
    assert (plan.depth, plan.params) == ((), plan.params_before)


@pytest.mark.parametrize(
    ("factory", "rule", "message"),
    [
        (
            zoo.vgg11,
            "d2-2-2-2-1",
            r"stage 1 has no blocks \(plain layers .*\), so its depth cannot become 2: write 1 for it",
        ),
        (
            zoo.darts,
            "d3-4-5",
            r"stage 3 has 4 blocks and cannot have 5: only blocks whose output has the input's shape",
        ),
        (
            lambda: zoo.wrn(10, 2),
            "d1-1-2",
            r"stage 3 has 1 blocks and cannot have 2: .*blocks.2.layer.0 does not; keep 1",
        ),
    ],
)
def test_depths_that_cannot_be(factory, rule: str, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(reconfig.DepthError, match=message):
        reconfig.plan(factory(), rule)


def test_named_blocks_are_cloned_under_the_next_name() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, padding=1)
            self.stage = nn.ModuleDict({"block1": Block(8), "block2": Block(8), "exit": nn.ReLU()})
            self.head = nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            for layer in self.stage.values():
                x = layer(x)
            return self.head(x.mean((2, 3)))

    model = Named()
    result = reconfig.apply(model, reconfig.Rule(depth=(4,)), example_input=IMAGE)
    assert list(result.stage) == ["block1", "block2", "block3", "block4", "exit"]
    assert list(reconfig.apply(model, reconfig.Rule(depth=(1,)), example_input=IMAGE).stage) == ["block1", "exit"]


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x).relu()


class Numbered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.block1, self.block2, self.block3 = Block(8), Block(8), Block(8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block3(self.block2(self.block1(self.stem(x)))).mean((2, 3)))


def test_numbered_attributes_keep_their_names() -> None:
    model = Numbered()
    fewer = reconfig.apply(model, reconfig.Rule(depth=(1,)), example_input=IMAGE)
    assert isinstance(fewer.block2, nn.Identity)
    assert isinstance(fewer.block3, nn.Identity)
    assert fewer(IMAGE).shape == (len(IMAGE), 2)
    plan = reconfig.plan(model, reconfig.Rule(depth=(5,)), example_input=IMAGE, weights="inherit")
    assert plan == reconfig.Plan.from_json(plan.to_json())
    more = plan.apply(model)
    assert list(more.block3.state_dict()) == [f"{n}.conv.{leaf}" for n in range(3) for leaf in ("weight", "bias")]
    for clone in more.block3:
        assert torch.equal(clone.conv.weight, model.block3.conv.weight)
    assert torch.equal(more.block2.conv.weight, model.block2.conv.weight)


def dense_factories() -> list[Any]:
    from torchvision.models import DenseNet

    return [
        pytest.param(lambda layers: zoo.densenet.DenseNet(layers, growth=8), id="zoo"),
        pytest.param(lambda layers: DenseNet(8, layers, 16, num_classes=10), id="torchvision"),
    ]


@pytest.mark.parametrize("factory", dense_factories())
@pytest.mark.parametrize("depth", [1, 2, 6])
def test_dense_layers_leave_and_join_the_concats(factory: Callable[[tuple[int, ...]], nn.Module], depth: int) -> None:
    x = torch.rand(2, 3, 64, 64)
    plan = reconfig.plan(factory((2, 3, 4)), f"d2-3-{depth}", example_input=x)
    result, by_hand = plan.apply(factory((2, 3, 4))), factory((2, 3, depth))
    assert [(name, t.shape) for name, t in result.state_dict().items()] == [
        (name, t.shape) for name, t in by_hand.state_dict().items()
    ]
    assert [repr(m) for m in result.modules()] == [repr(m) for m in by_hand.modules()]
    assert plan.stages[-1].blocks == (4, depth)


@pytest.mark.parametrize("factory", dense_factories())
def test_dense_layers_of_an_early_stage_change_only_what_reads_their_concat(factory: Any) -> None:
    x, model = torch.rand(2, 3, 64, 64), factory((2, 3, 4))
    check(model, x, "d3-1-4", gamma=1.5)
    plan = reconfig.plan(model, "d3-1-4", example_input=x)
    widths = [stage.width for stage in plan.stages]
    assert [new - old for old, new in widths] == [8, -16, 0]


def test_dense_layers_have_no_weights_to_inherit() -> None:
    with pytest.raises(reconfig.DepthError, match=r"rule d2-1 changes the number of dense layers, .* weights='fresh'"):
        reconfig.plan(zoo.densenet.DenseNet((2, 2), growth=8), "d2-1", weights="inherit")


# -- speed -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_planning_costs_a_few_forwards_on_meta() -> None:
    model, image = zoo.wrn34_10(), torch.zeros(2, 3, 32, 32)
    bones = probe(model, image).skeleton

    def forward() -> float:
        start = time.perf_counter()
        with torch.no_grad():
            bones(image.to("meta"))
        return time.perf_counter() - start

    def planned() -> float:
        start = time.perf_counter()
        reconfig.plan(model, "10-10-4", example_input=image)
        return time.perf_counter() - start

    forward(), planned()
    assert min(planned() for _ in range(5)) <= 6 * min(forward() for _ in range(5))


_SEEDED = """
import sys, timm, reconfig
model = timm.create_model("lambda_resnet26t", pretrained=False)
print(reconfig.plan(model, "10-5", gamma=0.7).to_json())
"""


@pytest.mark.slow
def test_a_plan_does_not_depend_on_the_hash_seed() -> None:
    """Lambda layers keep a number that could follow two widths, so that an order of sets would show."""
    pytest.importorskip("timm")
    plans = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _SEEDED],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "023"
    }
    assert len(plans) == 1


def test_a_stage_that_is_left_without_a_width_of_its_own_is_a_stage_still() -> None:
    """The one block that stays of the last stage pads the channels that come in, so that it has their width."""
    pieces = (("Inception", "Separable"), ("ZeroPadded", "Dense"), ("ZeroPadded", "GroupedBottleneck"))
    stages = tuple((width, kinds) for width, kinds in zip((16, 8, 8), pieces, strict=True))
    model = Network(Spec(stem=8, stages=stages, pooled=False, head="LiteralHead"))
    plan, _ = check(model, torch.randn(2, 3, SIDE, SIDE), "d1-1-1 10-10-4")
    assert [stage.blocks for stage in plan.stages] == [(2, 1)] * 3
    assert "stage 3 keeps 8 of its 8 channels" in plan.unscaled()[0]
