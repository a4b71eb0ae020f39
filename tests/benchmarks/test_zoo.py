from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

import reconfig
from benchmarks.judging.judge import judge, row_of
from benchmarks.judging.losses import LOSSES
from benchmarks.judging.models import Entry, build, entries
from benchmarks.judging.row import AGREES, RULE, Row, differs
from benchmarks.judging.sight import fingerprint, look, same_outputs
from benchmarks.judging.summary import summary
from benchmarks.judging.table import Table
from benchmarks.judging.training import train
from benchmarks.judging.widths import judge_exemptions, judge_widths, near
from benchmarks.judging.workers import LostError, Pace, Worker
from benchmarks.zoo import Options, main

pytest.importorskip("torchvision")
pytest.importorskip("timm")

# Small models that stand for what families do: residuals, concat, channel shuffle, gates, grouped, dense.
QUICK = ["resnet18", "squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5", "mobilenetv3_small_050", "regnetx_002"]
CLASSES = 1000


def one(name: str) -> Entry:
    return entries((name,))[0]


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("gamma", [1.0, pytest.param(1.5, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_small_models_are_right(name: str, gamma: float) -> None:
    row = judge(one(name), gamma)
    assert row.problem_list == []
    assert not differs(row)
    assert row.changed >= 0.5


# -- beyond classification

SLOW = ["lraspp_mobilenet_v3_large", "retinanet_resnet50_fpn", "unet-residual-3d", "wav2letter-mfcc", "generator-2d"]


@pytest.mark.parametrize("name", ["swift-srgan-x2", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
@pytest.mark.filterwarnings("ignore")
def test_small_models_beyond_classification_are_right(name: str) -> None:
    (entry,) = entries((name,), of="beyond")
    pytest.importorskip(entry.source)
    row = judge(entry)
    assert row.problem_list == []
    assert row.changed >= 0.5


def test_every_entry_beyond_classification_says_how_it_is_built_and_trained() -> None:
    listed = entries(of="beyond")
    assert len(listed) >= 120
    assert len({(entry.source, entry.name) for entry in listed}) == len(listed)
    assert {entry.loss for entry in listed} <= LOSSES.keys()
    assert all(":" in entry.factory and entry.shape and entry.input_size == entry.shape[-1] for entry in listed)


def test_feature_maps_may_scale_where_an_entry_says_so() -> None:
    whole, narrow, classes = (
        look(nn.Sequential(nn.Conv2d(3, width, 3, stride), nn.ReLU()), torch.rand(1, 3, 8, 8))
        for width, stride in ((8, 1), (4, 1), (8, 2))
    )
    assert same_outputs(whole, narrow, "scale")
    assert not same_outputs(whole, narrow, "keep")
    assert not same_outputs(whole, classes, "scale")
    tokens = [dataclasses.replace(whole, outputs=((1, 5, width), (1, width))) for width in (8, 4)]
    assert same_outputs(*tokens, "scale")
    assert not same_outputs(whole, tokens[0], "scale")


def test_options_of_an_entry_may_be_objects() -> None:
    options = {"layers": {"call": "builtins:dict", "a": 1}, "width": 3}
    assert build(Entry("n", "here", "f", "cnn", 8, "builtins:dict", options)) == {"layers": {"a": 1}, "width": 3}


def test_a_step_on_a_loss_sees_what_does_not_train() -> None:
    entry = Entry("n", "here", "f", "cnn", 8, "torch.nn:Conv2d", {}, (3, 8, 8), "mean")
    assert train(nn.Conv2d(3, 4, 1), entry, 0) == []
    broken = nn.Conv2d(3, 4, 1)
    nn.init.constant_(broken.weight, float("inf"))
    assert train(broken, entry, 0) == ["training: the loss is not finite"]


def test_how_many_objects_were_found_is_no_output_shape() -> None:
    class Finder(Net):
        def forward(self, x: torch.Tensor) -> list[dict[str, torch.Tensor]]:
            return [{"boxes": torch.zeros(self.conv1.out_channels, 4)}]

    assert (
        look(Finder(first=8), torch.rand(1, 3, 8, 8)).outputs == look(Finder(first=9), torch.rand(1, 3, 8, 8)).outputs
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("entry", entries(), ids=lambda entry: f"{entry.source}-{entry.name}")
@pytest.mark.filterwarnings("ignore")
def test_the_whole_list(entry: Entry) -> None:
    row = judge(entry)
    assert row.problem_list == []


# -- the judge itself: what is wrong must be seen


class Net(nn.Module):
    def __init__(self, first: int = 8, last: int = 20) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, first, 3, 1, 1)
        self.conv2 = nn.Conv2d(first, last, 3, 2, 1)
        self.fc = nn.Linear(last, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv2(self.conv1(x).relu()).relu().mean((2, 3)))


def judged(result: nn.Module, kind: str = "cnn", model: nn.Module | None = None, size: int = 16) -> list[str]:
    model, images = model or Net(), torch.rand(1, 3, size, size)
    row = Row("net", "here", "plain", kind)
    stages = reconfig.stages(model, images)
    plan = reconfig.plan(model, RULE, example_input=images)
    judge_widths(row, look(model, images), look(result, images), plan, stages)
    return row.problem_list


def test_the_right_widths_pass() -> None:
    assert judged(Net(last=8)) == []


class Branches(nn.Module):
    """Patches of 12 and of 16 pixels, each with a residual of its own."""

    def __init__(self, first: int = 20, second: int = 20) -> None:
        super().__init__()
        self.patches = nn.ModuleList(
            (
                nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, first, 3, 3)),
                nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, 10, 2, 2), nn.Conv2d(10, second, 2, 2)),
            )
        )
        self.inside = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for width in (first, second))
        self.fc = nn.Linear(first + second, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = [patches(x) for patches in self.patches]
        branches = [x + inside(x).relu() for x, inside in zip(branches, self.inside, strict=True)]
        return self.fc(torch.cat([x.mean((2, 3)) for x in branches], 1))


def test_a_stem_may_follow_the_branch_that_it_begins() -> None:
    model = Branches()
    assert reconfig.stages(model, torch.rand(1, 3, 48, 48)).stem == ("patches.0.0", "patches.0.2", "patches.1.0")
    assert judged(Branches(8, 8), model=model, size=48) == []
    assert judged(Branches(10, 8), model=model, size=48) == [
        "patches.0.2 of the stem goes from 20 to 10",
        "inside.0 of stage 2 goes from 20 to 10",
    ]


class Pieces(nn.Module):
    """The stage is a concat of two pieces, the first of which goes in groups of 24, and a layer of their sum."""

    def __init__(self, first: int = 72, second: int = 40, both: int = 112) -> None:
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, first, 3, 2, 1)
        self.groups = nn.Conv2d(first, first, 3, padding=1, groups=first // 24)
        self.second, self.both = nn.Conv2d(8, second, 3, 2, 1), nn.Conv2d(first + second, both, 1)
        self.fc = nn.Linear(both, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        x = torch.cat([self.groups(self.first(x)), self.second(x)], 1)
        return self.fc((x + self.both(x)).mean((2, 3)))


def test_a_sum_of_rounded_pieces_is_right() -> None:
    assert judged(Pieces(24, 16, 40), model=Pieces()) == []
    assert judged(Pieces(48, 16, 64), model=Pieces())[-1] == "both of stage 1 goes from 112 to 64"


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (Net(first=10, last=8), "conv1 of stage 1 goes from 8 to 10"),
        (Net(last=10), "conv2 of stage 2 goes from 20 to 10"),
        (Net(), "only 0% of the last stage's weights change"),
    ],
)
def test_wrong_widths_are_seen(result: nn.Module, problem: str) -> None:
    assert problem in judged(result)


def test_what_does_nothing_without_a_word_is_seen_in_a_hybrid_too() -> None:
    assert "no layer of the last stage changes, and the plan has no word of it" in judged(Net(), "hybrid")


@pytest.mark.parametrize(
    ("layers", "exempt", "problems"),
    [
        ((), "", []),
        (("conv1",), '{"call": 1}', []),  # 216 of 1,656 weights
        (("conv2", "fc"), '{"call": 1}', ['87% of the convolutions\' weights are exempt: {"call": 1}']),
        (("conv1", "conv2"), '{"call": 2}', ['100% of the convolutions\' weights are exempt: {"call": 2}']),
    ],
)
def test_a_plan_that_freezes_much_fails(layers: tuple[str, ...], exempt: str, problems: list[str]) -> None:
    model, images = Net(), torch.rand(1, 3, 16, 16)
    plan = reconfig.plan(model, RULE, gamma=1.5, example_input=images)
    frozen = reconfig.Frozen(1, layers, 8, reconfig.FrozenKind.CALL, "x[:8]", "")
    row = Row("net", "here", "plain", "cnn")
    judge_exemptions(row, look(model, images), dataclasses.replace(plan, frozen=(frozen,)))
    assert (row.convolutions, row.exempt, row.problem_list) == (2, exempt, problems)


@pytest.mark.parametrize(
    ("old", "new", "factor", "divisors", "is_near"),
    [
        (512, 205, 0.4, (), True),
        (512, 256, 0.4, (2, 4), False),
        (672, 252, 0.4, (42,), True),  # 42 groups
        (672, 252, 0.4, (2,), False),
        (2, 1, 0.4, (), True),
        (64, 64, 0.4, (), False),
        (32, 32, 0.4, (32,), True),  # at least one channel a group
    ],
)
def test_near_allows_for_divisors(old: int, new: int, factor: float, divisors: tuple[int, ...], is_near: bool) -> None:
    assert near(old, new, factor, divisors) is is_near


@pytest.mark.parametrize(
    ("convolution", "depthwise"),
    [
        (nn.Conv2d(8, 8, 3, groups=8), True),
        (nn.Conv2d(8, 16, 3, groups=8), True),  # it has twice as many channels as its input, whatever a stage asks
        (nn.Conv2d(8, 4, 3, groups=4), True),
        (nn.Conv2d(8, 8, 3, groups=4), False),
        (nn.Conv2d(8, 8, 3), False),
        (nn.Conv2d(1, 8, 3), False),
    ],
)
def test_channels_of_a_depthwise_convolution_are_its_inputs(convolution: nn.Conv2d, depthwise: bool) -> None:
    seen = look(nn.Sequential(convolution), torch.rand(1, convolution.in_channels, 8, 8))
    assert seen.convolutions["0"].depthwise is depthwise


def test_divisors_are_the_groups_of_norms_too_and_two_at_once() -> None:
    layers = nn.Conv2d(3, 48, 1), nn.GroupNorm(3, 48), nn.Conv2d(48, 48, 1, groups=2)
    divisors = look(nn.Sequential(*layers), torch.rand(1, 3, 8, 8)).divisors
    assert {16, 24, 48} <= divisors  # of a norm's group, of a convolution's, and of both
    assert 32 not in divisors


def test_a_fingerprint_sees_every_kind_of_change() -> None:
    model = Net()
    marks = fingerprint(model)
    assert fingerprint(model) == marks
    model.conv1.eval()
    assert fingerprint(model) != marks
    model.conv1.train()
    with torch.no_grad():
        model.conv1.bias[0] += 1e-6
    assert fingerprint(model) != marks
    marks = fingerprint(model)
    torch.rand(1)
    assert fingerprint(model) != marks


def test_a_lost_process_loses_one_model() -> None:
    worker = Worker()
    try:
        with pytest.raises(LostError, match=r"^not done after 0\.01 s$"):
            worker.ask(partial(row_of, one("resnet18"), 1.0), limit=0.01)
        assert worker.process is None
    finally:
        worker.close()


_KILLED = """
import time
from functools import partial
from benchmarks.judging.workers import Worker
if __name__ == "__main__":
    worker = Worker()
    worker.ask(time.time, 60)
    print("a worker runs", flush=True)
    worker.ask(partial(time.sleep, 600), 600)
"""


def test_a_worker_ends_with_what_started_it(tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(_KILLED)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, tmp_path / "killed.py"], stdout=subprocess.PIPE, env=env) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"a worker runs\n"
        parent.kill()
        parent.communicate(timeout=30)  # ends when nobody holds the pipe any more, the worker included


def test_the_pace_is_said_now_and_then() -> None:
    pace = Pace(100)
    said = [pace.after(2.0) for _ in range(20)]
    assert said[:19] == [""] * 19
    assert said[19].startswith("20 of 100 models, 2.0 s of processor time each; about 0 minutes left")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(depth=True, gamma=1.5), "--depth changes no width: leave --gamma and --peer out"),
        (Options(all=True, list="beyond"), "--all is all of timm, not the list beyond: leave one of the two out"),
    ],
)
def test_options_that_exclude_each_other(options: Options, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        main(options)


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(SystemExit, match=r"not in zoo\.json: resnet19"):
        entries(("resnet19",))


def test_a_name_that_does_not_come_from_there_is_an_error() -> None:
    with pytest.raises(SystemExit, match="none of convnext_atto comes from torchvision: leave --source out"):
        entries(("convnext_atto",), "torchvision")


def test_a_part_of_the_list_does_not_overwrite_the_whole_lists_table(tmp_path: Path) -> None:
    whole = Options().folder
    assert (whole / "zoo.csv").exists()
    assert whole not in (Options(only=("resnet18",)).folder, Options(source="timm").folder)
    assert Options(only=("resnet18",), out=tmp_path).folder == tmp_path


def test_an_interrupted_table_is_read_back(tmp_path: Path) -> None:
    row = Row("a", "timm", "f", "cnn", right=True, params=3, changed=0.5, problems='a "b", c', peer_right="yes")
    Table(tmp_path / "zoo.csv", Row).add([row])
    with (tmp_path / "zoo.csv").open("a") as file:
        file.write("b,timm,f")
    assert Table(tmp_path / "zoo.csv", Row, resume=True).held == [row]
    assert Table(tmp_path / "zoo.csv", Row, resume=True).held == [row]
    assert Table(tmp_path / "zoo.csv", Row).held == []


def test_the_summary_counts() -> None:
    good = Row("a", "timm", "f", "cnn", right=True, oracle=AGREES, groups=10, frozen=1, fvcore_flops="equal")
    good.convolutions, good.exempt, good.exempt_share, good.params_miss = 5, '{"tied": 1}', 0.07, -0.009
    good.reasons = json.dumps({"F.odd at x.py:1 (in a.b)": 1})
    bad = dataclasses.replace(
        good, name="b", right=False, problems="broken", oracle="stage 1 is no feature", reasons=""
    )
    text = summary([good, bad])
    assert "| all | 2 | 1 | 1 of 2 | 2 of 2 | 2 of 20 (10.0%) |" in text
    assert "| F.odd at x.py:1 | 1 |" in text
    assert "| b | broken |" in text
    assert "on 2 models: 1 right (50.0%)" in text
    assert "of the 10 convolutions of cnns 2 (20.0%) (tied 2; most of the weights in a, 7%)" in text
    assert "| a | tied 1 of 5, 7.0% |" in text
    assert "| a | -0.90% |" in text
    assert "| b | stage 1 is no feature |" in text
