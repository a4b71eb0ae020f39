from __future__ import annotations

import csv
import io
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from accelerate.state import AcceleratorState
from helpers.tiny_run import ROOT, environment
from rich.console import Console

import reconfig
from benchmarks import sweep as command_line
from recipes.sweeps import (
    REPORTED,
    SWEEPS,
    DepthControl,
    DepthGrid,
    DepthWidth,
    GammaScaling,
    WidthControl,
    most_robust,
)
from reconfig import zoo
from reconfig.harness import files
from reconfig.harness.data.dataset import load_dataset
from reconfig.harness.experiment import Attack, Compute, Data, Evaluate, Train
from reconfig.harness.jobs import cluster, ray_tasks
from reconfig.harness.jobs.cluster import ClusterError
from reconfig.harness.jobs.job import Job, jobs_by_seed
from reconfig.harness.jobs.network import plan_network
from reconfig.harness.jobs.outcome import Outcome
from reconfig.harness.jobs.ray_tasks import Finished, RayError, Timing
from reconfig.harness.network import Network
from reconfig.harness.options import SweepOptions
from reconfig.harness.studies import sweeping
from reconfig.harness.studies.board import board
from reconfig.harness.studies.folder import FolderError
from reconfig.harness.studies.held import HeldError, at_the_firsts
from reconfig.harness.studies.sweeping import SweepError
from reconfig.harness.sweep import Compare, Variants, read_variant

SETTING = {
    "data": Data(path="digits", train_limit=48, test_limit=20, hold_out=16, flip=False),
    "train": Train(epochs=1, batch=16, lr=0.05, attack=Attack(steps=1)),
    "evaluate": Evaluate(attacks=("pgd20",)),
    "compute": Compute(device="cpu"),
}
TINY = GammaScaling(network="zoo:vgg11", gamma=0.04, limit=3, **SETTING)  # type: ignore[arg-type]
NAMES = ["w10-10-4_gamma=0.25", "w10-10-4_gamma=0.5", "w10-10-4_gamma=1"]
FLAGS = [
    *("depth-grid", "--data", "digits", "--gamma", "0.02", "--train.epochs", "1", "--train.batch", "16"),
    *("--data.train-limit", "80", "--data.test-limit", "20", "--data.hold-out", "16", "--train.attack.steps", "1"),
    *("--compute.device", "cpu", "--save-every", "0"),
]


class InTurn:
    """Does jobs one after the other in this process, as a worker of Ray would; stops after so many."""

    def __init__(self, most: int = 99, broken: str = "") -> None:
        self.most, self.broken = most, broken
        self.done: list[str] = []

    def __call__(self, jobs: Sequence[Job], options: SweepOptions, timing: Timing) -> Iterator[Finished]:
        for each in jobs:
            if len(self.done) == self.most:
                raise KeyboardInterrupt
            self.done.append(each.folder.name)
            AcceleratorState._reset_state(reset_partial_state=True)
            if each.folder.name == self.broken:
                yield each, "the loss became nan"
            else:
                yield each, ray_tasks.work(each, options.save_every, 1)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def stamps(out: Path) -> dict[str, int]:
    """When the files of every finished network were written."""
    finished = [path.parent for path in out.rglob("outcome.json")]
    return {str(path): path.stat().st_mtime_ns for folder in finished for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------- what the paper explored


def test_the_sweeps_have_the_papers_configurations() -> None:
    grid = [each.name for each in DepthGrid().configurations()]
    assert len(grid) == len(set(grid)) == 125
    assert {"d9-7-1", "d1-1-1", "d9-9-9", "d5-5-5"} <= set(grid)
    for control, standard in ((DepthControl(), "d5-5-5"), (WidthControl(), "w10-10-10")):
        found = list(control.configurations())
        assert [each.name for each in found].count(standard) == 1  # one network for the three panels
        panels = Counter(panel for each in found for panel, _ in each.positions)
        assert panels == {"Stage-1": 5, "Stage-2": 5, "Stage-3": 5}
    both = [each.name for each in DepthWidth(depths=("9-7-1", "7-9-3", "9-9-1", "9-9-3", "7-7-1")).configurations()]
    assert len(set(both)) == 25
    assert "d7-9-3 w10-10-4" in both


@pytest.mark.parametrize(("rule", "gamma"), [key for key, value in REPORTED.items() if value.params_m is not None])
def test_reported_sizes_are_those_of_our_networks(rule: str, gamma: float) -> None:
    with torch.device("meta"):
        model = zoo.wrn34_10()
    plan = reconfig.plan(model, rule, gamma=gamma, example_input=torch.zeros(1, 3, 32, 32, device="meta"))
    assert round(plan.params / 1e6, 2) == REPORTED[rule, gamma].params_m


def test_the_papers_figures_stand_beside_its_own_network_alone() -> None:
    table1 = [each.reported.pgd20 for each in GammaScaling().configurations() if each.reported]
    assert table1 == [50.90, 54.07, 54.99, 55.33, 55.35]
    assert not any(each.reported for each in GammaScaling(gamma=0.5).configurations())
    assert not any(each.reported for each in GammaScaling(network="zoo:wrn34_12").configurations())


def test_the_most_robust_depths_come_from_a_finished_grid(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("rule,pgd20_best_mean\n" + "".join(f"d{depth}-5-5,{50 + depth}\n" for depth in (1, 9, 3, 7, 5)))
    assert most_robust(path, 3) == ("9-5-5", "7-5-5", "5-5-5")
    assert len(list(DepthWidth(grid=path).configurations())) == 25
    with pytest.raises(ValueError, match="not of a depth-grid with at least 6 configurations: it has 5 rows"):
        most_robust(path, 6)
    with pytest.raises(ValueError, match="does not exist; run depth-grid first"):
        most_robust(tmp_path / "none.csv", 5)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("zoo:wrn34_10", Network("zoo:wrn34_10")),
        ("zoo:wrn34_10 10-10-4", Network("zoo:wrn34_10", "10-10-4")),
        ("zoo:wrn34_10 d7-9-3 w10-10-4 gamma=0.5", Network("zoo:wrn34_10", "d7-9-3 w10-10-4", 0.5)),
        ("zoo:vgg11 gamma=2", Network("zoo:vgg11", "10-10-10", 2.0)),
    ],
)
def test_variants_read_as_they_are_written(text: str, network: Network) -> None:
    assert read_variant(text) == network


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Variants(variants=("zoo:vgg11",)), "variants must be two or more that differ, not zoo:vgg11"),
        (lambda: Variants(variants=("zoo:vgg11", "zoo:vgg11")), "variants must be two or more that differ"),
        (lambda: Variants(variants=("zoo:vgg11", "")), "this one is empty"),
        (lambda: Variants(variants=("zoo:vgg11", "zoo:vgg11 gamma=much")), "'gamma=much' in variant .* is no number"),
        (
            lambda: Variants(variants=("zoo:vgg11", "zoo:vgg11 gamma=2")),
            "gives a gamma, which --budget params solves for",
        ),
        (lambda: Compare(rules=()), "rules must be one or more that differ, .* not none"),
        (lambda: Compare(rules=("10-10-4", "10-10-4")), "rules must be one or more that differ, .* 10-10-4, 10-10-4"),
        (lambda: Compare(within=0), "within must be above 0, not 0"),
        (lambda: Compare(gamma=-1), "gamma must be above 0, not -1"),
        (lambda: SweepOptions(out=Path(), here=True, address="auto"), "here trains in this process, address auto on a"),
        (lambda: DepthGrid(limit=0), "limit must be at least 1, not 0"),
        (lambda: DepthGrid(seeds=0), "seeds must be at least 1, not 0"),
        (lambda: DepthGrid(evaluate=Evaluate(attacks=("fgsm",))), "evaluate.attacks must have pgd20"),
        (lambda: SweepOptions(out=Path(), cpus=0), "cpus must be at least 1, not 0"),
        (lambda: SweepOptions(out=Path(), gpus_per_run=-1), "gpus_per_run must be at least 0, not -1"),
    ],
)
def test_values_that_make_no_sense_are_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("of", "tolerance"), [("params", 0.002), ("flops", 0.03)])
def test_variants_are_given_everybody_what_the_first_has(of: str, tolerance: float) -> None:
    dataset = load_dataset(SETTING["data"])
    compare = Variants(variants=("zoo:vgg11 gamma=0.25", "zoo:vgg11 10-10-4", "zoo:vgg13"), budget="none")
    planned = at_the_firsts(tuple(compare.configurations()), of, dataset)
    first, *others = planned
    target = getattr(plan_network(first.network, dataset), of)
    for other in others:
        assert getattr(plan_network(other.network, dataset), of) == pytest.approx(target, rel=tolerance)


# ---------------------------------------------------------------- running


@pytest.mark.slow
def test_a_sweep_that_was_stopped_does_no_finished_work_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = SweepOptions(out=tmp_path / "out")
    first, second, third = InTurn(most=1), InTurn(), InTurn()
    with pytest.raises(KeyboardInterrupt):
        sweeping.run(TINY, options, first)
    before = stamps(options.out)
    assert first.done == NAMES[:1]
    assert before

    path = sweeping.run(TINY, replace(options, resume=True), second)
    assert second.done == NAMES[1:]
    assert before.items() <= stamps(options.out).items()
    assert "1 of 3 trainings finished before" in capsys.readouterr().out

    found = rows(path)
    assert [row["name"] for row in found] == ["w10-10-4 γ=0.25", "w10-10-4 γ=0.5", "w10-10-4 γ=1"]
    for row, name, gamma in zip(found, NAMES, (0.01, 0.02, 0.04), strict=True):
        outcome = files.read_json(options.out / "seed-0" / name / "outcome.json")
        assert float(row["pgd20_best_mean"]) == outcome["scores"]["best"]["pgd20"]
        assert int(row["params"]) == reconfig.plan(zoo.vgg11(), "10-10-4", gamma=gamma).params
    assert (options.out / "figure.svg").read_text().startswith("<svg")
    assert "| w10-10-4 γ=1 | 9,324 | 0.31 M |" in (options.out / "table.md").read_text()

    sweeping.run(TINY, replace(options, resume=True), third)
    assert third.done == []
    with pytest.raises(FolderError, match=r"train\.epochs was 1 and is now 2"):
        sweeping.run(replace(TINY, train=replace(TINY.train, epochs=2)), replace(options, resume=True), third)


def test_the_board_shows_what_the_folders_say(tmp_path: Path) -> None:
    grid = DepthGrid(train=Train(epochs=3))
    chosen = list(grid.configurations())[:4]
    jobs = [runs[0] for runs in jobs_by_seed({each.folder: each.network for each in chosen}, grid, tmp_path).values()]
    for each in jobs[:3]:
        each.folder.mkdir(parents=True)
    failed, running, finished, _ = jobs
    (running.folder / "metrics.jsonl").write_text('{"epoch": 1, "pgd20": 30.0}\n{"epoch": 2, "pgd20": 31.25}\n')
    scores = {checkpoint: {"clean": 80.0, "pgd20": 52.5} for checkpoint in ("last", "best")}
    outcome = Outcome("zoo:wrn34_10 d1-1-5", 0, 1, 1, scores, {"last": 3, "best": 2}, 7.0, {}, None)
    files.write_json(finished.folder / "outcome.json", vars(outcome))
    console = Console(file=io.StringIO(), width=120)
    console.print(board(jobs, {failed: "it broke"}, grid))
    assert isinstance(console.file, io.StringIO)
    shown = [line.split("│") for line in console.file.getvalue().splitlines() if "seed 0" in line]
    assert [[cell.strip() for cell in line[1:4]] for line in shown] == [
        ["zoo:wrn34_10 d1-1-3, seed 0", "epoch 2/3", "31.25"],
        ["zoo:wrn34_10 d1-1-5, seed 0", "finished, PGD-20 52.50 %, trained in 7 s", "52.50"],
        ["zoo:wrn34_10 d1-1-1, seed 0", "failed: it broke", "0.00"],
    ]


def test_what_fails_is_said_and_the_rest_is_kept(tmp_path: Path) -> None:
    options = SweepOptions(out=tmp_path / "out")
    few = replace(TINY, limit=2)
    with pytest.raises(
        SweepError, match=r"1 of 2 trainings failed \(zoo:vgg11 w10-10-4 γ=0.01, seed 0: the loss became nan\)"
    ):
        sweeping.run(few, options, InTurn(broken=NAMES[0]))
    assert [row["name"] for row in rows(options.out / "results.csv")] == ["w10-10-4 γ=0.5"]
    again = InTurn()
    sweeping.run(few, replace(options, resume=True), again)
    assert again.done == NAMES[:1]


@pytest.mark.slow
def test_variants_have_one_row_for_all_seeds(tmp_path: Path) -> None:
    runner = InTurn()
    variants = Variants(variants=("zoo:vgg11 gamma=0.03", "zoo:vgg11 10-10-4"), seeds=2, **SETTING)  # type: ignore[arg-type]
    path = sweeping.run(variants, SweepOptions(out=tmp_path / "out"), runner)
    assert len(runner.done) == 4
    assert sorted(folder.name for folder in (tmp_path / "out").iterdir() if folder.is_dir()) == ["seed-0", "seed-1"]
    first, second = rows(path)
    assert (first["seeds"], second["seeds"]) == ("2", "2")
    assert float(first["pgd20_best_std"]) >= 0
    assert int(second["params"]) == pytest.approx(int(first["params"]), rel=0.02)
    assert "against the first" in (tmp_path / "out" / "table.md").read_text()


# ---------------------------------------------------------------- rules compared

RULES = Compare(network="zoo:vgg11", gamma=0.04, rules=("10-10-10", "10-10-4"), **SETTING)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_comparison_is_balanced_at_every_moment_and_takes_more_seeds_later(tmp_path: Path) -> None:
    out = tmp_path / "out"
    one, more = replace(RULES, hold="params"), replace(RULES, hold="params", seeds=3)
    first = InTurn()
    sweeping.run(one, SweepOptions(out=out), first)
    assert first.done == ["original", "10-10-4_params"]  # 10-10-10 is the original
    before = stamps(out)

    second = InTurn(most=3)
    with pytest.raises(KeyboardInterrupt):
        sweeping.run(more, SweepOptions(out=out, resume=True), second)
    assert second.done == ["original", "10-10-4_params", "original"]  # a seed before the next
    assert [row["seeds"] for row in rows(out / "results.csv")] == ["2", "2", "2"]  # the third has no pair yet

    third = InTurn()
    sweeping.run(more, SweepOptions(out=out, resume=True), third)
    assert third.done == ["10-10-4_params"]
    assert before.items() <= stamps(out).items()
    found = rows(out / "results.csv")
    assert [(row["rule"], row["seeds"]) for row in found] == [("", "3"), ("10-10-10", "3"), ("10-10-4", "3")]
    assert "paired t-test" in (out / "report.html").read_text()
    fewer = InTurn()
    sweeping.run(one, SweepOptions(out=out, resume=True), fewer)
    assert fewer.done == []
    assert [row["seeds"] for row in rows(out / "results.csv")] == ["1", "1", "1"]


def test_rules_that_cannot_be_met_stop_everything_before(tmp_path: Path) -> None:
    with pytest.raises(HeldError, match=r"'d2:2:1' with the parameters held .*has no blocks"):
        sweeping.run(replace(RULES, rules=("10-10-4", "d2:2:1")), SweepOptions(out=tmp_path / "out"), InTurn())
    assert not (tmp_path / "out").exists()


def test_a_comparison_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, SweepOptions]] = []
    monkeypatch.setattr(sweeping, "run", lambda wanted, options: asked.append((wanted, options)))
    words = ["compare", "timm:resnet10t", "--rules", "10-10-4", "d2:2:1 w2:2.5:1", "--hold", "flops", "--here"]
    monkeypatch.setattr(sys, "argv", ["sweep.py", *words])
    assert command_line.main() == 0
    ((wanted, options),) = asked
    assert isinstance(wanted, Compare)
    assert (wanted.network, wanted.rules, wanted.hold) == ("timm:resnet10t", ("10-10-4", "d2:2:1 w2:2.5:1"), "flops")
    assert options.here


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "zoo:vgg12"}, "reconfig.zoo has no network 'vgg12'"),
        ({"gamma": -1.0}, "gamma"),
        ({"data": Data(path="nowhere")}, "the data folder nowhere does not exist"),
        ({"train": Train(batch=4096)}, "train.batch is 4096"),
    ],
)
def test_what_cannot_run_is_said_before_anything_is_written(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(reconfig.ReconfigError, match=message):
        sweeping.run(replace(TINY, **change), SweepOptions(out=tmp_path / "out"), InTurn())  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RayError, match=r"pip install 'robust-reconfig\[sweep\]'"):
        sweeping.run(replace(TINY, limit=1), SweepOptions(out=tmp_path / "out"))


_LINES = (
    r"Depth configurations \(Figure 1b\): 2 configurations of digits .*; 0 of 2 trainings finished before",
    r"takes \d:\d\d:\d\d or less, by a timed batch: 2 trainings, \d at a time",
    r"1/2  zoo:wrn34_10 d1-1-[13] γ=0\.02, seed 0  finished, PGD-20 [\d.]+ %, trained in \d+ s",
    r"2/2  zoo:wrn34_10 d1-1-[13] γ=0\.02, seed 0  finished, PGD-20 [\d.]+ %, trained in \d+ s",
)


@pytest.mark.slow
def test_nothing_but_our_lines_is_on_the_screen(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    command = [sys.executable, str(ROOT / "benchmarks" / "sweep.py"), *FLAGS, "--limit", "2", "--out", "out"]
    done = subprocess.run(command, env=environment(), cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    before, _, after = done.stdout.partition("\n\n")
    lines = [line for line in before.splitlines() if " left" not in line]  # a line a minute, on a slow machine
    assert len(lines) == len(_LINES)
    for line, ours in zip(lines, _LINES, strict=True):
        assert re.fullmatch(ours, line), line
    assert after.startswith("┏")
    assert after.splitlines()[-1] == "Results: out/results.csv (also figure.svg, table.md, table.tex, result.json)"


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of something that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_an_address_where_nobody_listens_is_refused_before_anything_is_written(tmp_path: Path, silent: str) -> None:
    pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"127.0.0.1:{server.getsockname()[1]}"
    for address in (closed, f"ray://{closed}"):
        options = SweepOptions(out=tmp_path / "out", address=address)
        with pytest.raises(ClusterError, match=rf"no Ray cluster answers at {address}: .*refused\. On its head node"):
            sweeping.run(replace(TINY, limit=1), options)
    assert not (tmp_path / "out").exists()


def test_an_address_where_something_else_listens_is_not_waited_for(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(cluster, "_CLUSTER_SECONDS", 3)
    with pytest.raises(ClusterError, match=rf"answers at {silent}: Ray could not connect within 3 seconds\. On its"):
        cluster.check(silent)


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1"])
def test_what_is_no_address_is_said_in_rays_words(address: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(ClusterError, match=f"answers at {address}: Invalid address format: {address}"):
        cluster.check(address)


def test_help_needs_neither_torch_nor_ray() -> None:
    code = (
        "import sys; sys.argv[1:] = ['--help']\nimport benchmarks.sweep as s\ntry: s.main()\nexcept SystemExit: pass\n"
    )
    check = "sys.exit(bool({'torch', 'ray'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + check], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in SWEEPS)


def test_the_command_line_fills_the_sweep(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[tuple[object, SweepOptions]] = []
    monkeypatch.setattr(sweeping, "run", lambda wanted, options: asked.append((wanted, options)))
    monkeypatch.setattr(sys, "argv", ["sweep.py", *FLAGS, "--gpus-per-run", "0.25", "--out", "here"])
    assert command_line.main() == 0
    ((wanted, options),) = asked
    assert isinstance(wanted, DepthGrid)
    assert (wanted.gamma, wanted.train.epochs, wanted.data.path) == (0.02, 1, "digits")
    assert (options.gpus_per_run, options.out, options.address) == (0.25, Path("here"), None)

    def fail(*_: object) -> None:
        raise SweepError("no such thing")

    monkeypatch.setattr(sweeping, "run", fail)
    assert command_line.main() == 1
    assert capsys.readouterr().err == "error: no such thing\n"


# ---------------------------------------------------------------- on Ray, killed


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_in_the_middle_and_resumed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, str(ROOT / "benchmarks" / "sweep.py"), *FLAGS, "--limit", "8", "--cpus", "2"]
    command += ["--out", str(out), "--resume"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 500
    try:
        while len(list(out.rglob("outcome.json"))) < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        workers = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert workers
    _, alive = psutil.wait_procs(workers, timeout=120)
    assert not alive, "Ray outlived the sweep"
    before = stamps(out)
    finished = len(list(out.rglob("outcome.json")))
    assert 3 <= finished < 8

    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{finished} of 8 trainings finished before" in done.stdout
    assert done.stdout.count("  finished, PGD-20") == 8 - finished
    assert before.items() <= stamps(out).items()
    assert [row["name"] for row in rows(out / "results.csv")] == [
        each.name for each in list(DepthGrid().configurations())[:8]
    ]
    assert not list(out.rglob("*" + files.UNFINISHED))


# A Ray of its own serves as the cluster: `ray stop` would end everybody's.
HEAD = """
import sys, ray
held = ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20)
print(held.address_info["address"], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def head() -> Iterator[str]:
    """The address of a Ray cluster of one node."""
    pytest.importorskip("ray")
    variables = environment() | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}  # as `ray start` has it
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD], env=variables, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.communicate("", timeout=60)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_on_a_cluster_and_resumed(tmp_path: Path, head: str) -> None:
    out = tmp_path / "out"
    command = [sys.executable, str(ROOT / "benchmarks" / "sweep.py"), *FLAGS, "--limit", "4", "--address", head]
    command += ["--out", str(out), "--resume"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not list(out.rglob("outcome.json")):
            assert process.poll() is None
            time.sleep(0.05)
        assert not psutil.Process(process.pid).children(recursive=True), "a Ray of its own"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = stamps(out)
    finished = len(list(out.rglob("outcome.json")))

    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{finished} of 4 trainings finished before" in done.stdout
    assert done.stdout.count("  finished, PGD-20") == 4 - finished
    assert before.items() <= stamps(out).items()
    assert len(rows(out / "results.csv")) == 4
