"""A run with each tracker, stopped and resumed: its reader finds metrics.jsonl's curves, all in the run's folder."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.small_training import small_machine
from helpers.tiny_run import ROOT, TINY, environment

from reconfig.harness.machine import trackers
from reconfig.harness.machine.trackers import TrackerError

Curves = dict[str, list[tuple[int, float]]]
"""For each metric of each network (epoch, value)."""

OTHERS = ("XDG_", "WANDB_", "MLFLOW_", "TRACKIO_")
"""Variables that would lead a tracker elsewhere."""

# The third epoch, the first of the second network, is interrupted at its end.
STOPPED = """
import sys
from benchmarks import run
from reconfig.harness.training.training import Training
finish, finished = Training._finish_epoch, []
def stop(self, *given):
    if len(finished) == 3:
        raise KeyboardInterrupt
    finished.append(finish(self, *given))
Training._finish_epoch = stop
sys.exit(run.main())
"""


def of_tensorboard(logs: Path) -> Curves:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(logs / "tiny"))
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
        if "/" in name
    }


def wandb_records(path: Path) -> Iterator[bytes]:
    """What a .wandb file holds; the blocks and headers are those of LevelDB's log."""
    data = path.read_bytes()
    assert data.startswith(b":W&B")
    place, held = 7, b""
    while place < len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, size, kind = struct.unpack("<IHB", data[place : place + 7])
        held += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):
            yield held
            held = b""


def of_wandb(logs: Path) -> Curves:
    from wandb.proto.wandb_internal_pb2 import Record

    found: Curves = defaultdict(list)
    runs, axes = set(), {}
    parts = sorted(logs.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(parts) == 2
    for data in (data for part in parts for data in wandb_records(part)):
        record = Record()
        record.ParseFromString(data)
        if record.HasField("run"):
            runs.add((record.run.run_id, record.run.project, record.run.display_name))
        if record.HasField("metric"):
            axes[record.metric.glob_name] = record.metric.step_metric
        row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
        for name, value in row.items():
            if "/" in name:
                found[name].append((row[f"{name.partition('/')[0]}/epoch"], value))
    assert runs == {((logs / "wandb-run").read_text(), "reconfig", "tiny")}
    assert axes == {f"{place}/*": f"{place}/epoch" for place in ("original", "variant")}
    return found


def of_mlflow(logs: Path) -> Curves:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{logs / 'mlflow.db'}")
    found = client.get_experiment_by_name("reconfig")
    (run,) = client.search_runs([found.experiment_id])
    assert (run.info.run_name, run.info.status) == ("tiny", "FINISHED")
    assert run.data.params["train.attack.steps"] == "2"
    assert found.artifact_location == (logs / "mlflow").as_uri()
    return {
        name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


def of_trackio(logs: Path) -> Curves:
    code = (
        "import json, trackio; from trackio.sqlite_storage import SQLiteStorage as Held\n"
        "names = [run.name for run in trackio.Api().runs('reconfig')]\n"
        "print(json.dumps([names, Held.get_logs('reconfig', 'tiny')]))"
    )
    variables = environment() | {"TRACKIO_DIR": str(logs / "trackio")}  # read when it is imported
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names, rows = json.loads(done.stdout.splitlines()[-1])
    assert names == ["tiny"]
    found: Curves = defaultdict(list)
    for row in rows:
        for name, value in row.items():
            if "/" in name:
                found[name].append((row["step"], value))
    return found


READERS: dict[str, Callable[[Path], Curves]] = {
    "tensorboard": of_tensorboard,
    "wandb": of_wandb,
    "mlflow": of_mlflow,
    "trackio": of_trackio,
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the trackers' packages
@pytest.mark.parametrize("tracker", READERS)
def test_the_curves_of_a_stopped_run_are_whole(tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")  # the reader's
    pytest.importorskip(tracker)
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    out = here / "runs" / "tiny"
    kept = {name: value for name, value in environment().items() if not name.startswith(OTHERS)}
    variables = kept | {"HOME": str(home), "MPLCONFIGDIR": str(tmp_path / "matplotlib"), "WANDB_MODE": "offline"}
    arguments = [*TINY, "--tracker", tracker, "--out", "runs/tiny"]

    def start(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command, *arguments], cwd=here, env=variables, capture_output=True, text=True
        )

    stopped = start("-c", STOPPED)
    assert stopped.returncode == 130, stopped.stderr
    arguments.append("--resume")
    resumed = start(str(ROOT / "benchmarks" / "run.py"))
    assert resumed.returncode == 0, resumed.stderr
    assert (f"{out}/logs" in resumed.stdout) == (tracker != "wandb"), "where to look; wandb says it itself"

    wanted: dict[str, Any] = {}
    for place in ("original", "variant"):
        rows = [json.loads(line) for line in (out / place / "metrics.jsonl").read_text().splitlines()]
        assert len(rows) == 2
        wanted |= {f"{place}/{name}": [(row["epoch"], row[name]) for row in rows] for name in rows[0]}
    found = READERS[tracker](out / "logs")
    assert found.keys() == wanted.keys()
    for name, points in wanted.items():
        assert [step for step, _ in found[name]] == [step for step, _ in points], name
        # tensorboard keeps float32
        assert [value for _, value in found[name]] == pytest.approx([value for _, value in points], rel=1e-6), name
    elsewhere = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_relative_to(out)]
    assert {path for path in elsewhere if not path.is_relative_to(tmp_path / "matplotlib")} == set()


# ---------------------------------------------------------------- what cannot be


def test_a_tracker_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "get_available_trackers", lambda: ["trackio", "mlflow"])
    message = (
        r"the tracker wandb is not installed \(installed: mlflow, trackio\); pip install wandb, or .*--tracker none"
    )
    with pytest.raises(TrackerError, match=message):
        small_machine(tmp_path, tracker="wandb")
    assert small_machine(tmp_path, tracker="none").accelerator.log_with == []


@pytest.mark.parametrize("name", ["paper", "all"])
def test_a_tracker_that_nobody_knows_is_nothing_to_install(name: str, tmp_path: Path) -> None:
    with pytest.raises(TrackerError, match=rf"knows no tracker {name}; give --tracker none, or one of .*tensorboard"):
        small_machine(tmp_path, tracker=name)


def test_a_tracker_that_does_not_start_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computer = small_machine(tmp_path, tracker="tensorboard")

    def fail(*_: object) -> None:
        raise OSError("no space.")

    monkeypatch.setattr(computer.accelerator, "init_trackers", fail)
    message = r"tracker tensorboard does not start: no space\. To go on, add --resume .*; --tracker none goes without"
    with pytest.raises(TrackerError, match=message):
        trackers.begin(computer.accelerator, tmp_path, {}, [], resume=False)


def test_what_a_user_chose_for_wandb_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path))  # or it would be set for the tests that follow
    project, arguments, _ = trackers._chosen("wandb", "vgg11", tmp_path, resume=False)
    again = trackers._chosen("wandb", "vgg11", tmp_path, resume=True)
    assert (project, again[1]) == ("reconfig", arguments)  # the same run
    assert arguments == {"dir": str(tmp_path), "name": "vgg11", "id": arguments["id"], "resume": "allow"}
    for name in ("PROJECT", "DIR", "RUN_ID"):
        monkeypatch.setenv(f"WANDB_{name}", "theirs")
    project, arguments, _ = trackers._chosen("wandb", "vgg11", tmp_path, resume=False)
    assert (project, sorted(arguments)) == ("theirs", ["name", "resume"])
