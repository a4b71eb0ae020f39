from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.own_networks import LAYERS, NET
from helpers.tiny_run import ROOT, environment

from benchmarks import search as command_line
from reconfig.harness.jobs.short_training import Trial
from reconfig.harness.search import Search
from reconfig.harness.studies.searching import ranked

FLAGS = [
    *("--data", "digits", "--data.train-limit", "120", "--data.test-limit", "40", "--data.hold-out", "40"),
    *("--train.epochs", "3", "--train.batch", "20", "--train.attack.steps", "1", "--compute.device", "cpu"),
    *("--trial-epochs", "3", "--save-every", "0", "--cpus", "2", "--minutes", "60"),
]


def trial(rule: str, *robust: float, error: str = "") -> Trial:
    history = tuple({"epoch": number, "pgd20": value, "seconds": 1.0} for number, value in enumerate(robust, 1))
    return Trial(Path(rule), {}, rule, history, True, error, 10, 20)


def test_the_best_trial_is_the_best_of_those_that_came_furthest() -> None:
    trials = [
        trial("a", 90.0),
        trial("b", 10.0, 30.0, 40.0),
        trial("c", 20.0, 30.0, 50.0),
        trial("d", error="no"),
        trial("e"),
    ]
    assert [each.rule for each in ranked(trials)] == ["c", "b", "a"]


def test_the_command_line_fills_the_search(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = []
    monkeypatch.setattr("reconfig.harness.studies.searching.run", lambda *given: found.append(given))
    monkeypatch.setattr(sys, "argv", ["search.py", "zoo:vgg11 gamma=0.1", "--hold", "flops", "--minutes", "7",
                                      "--out", str(tmp_path)])  # fmt: skip
    assert command_line.main() == 0
    ((search, options),) = found
    assert search == Search(network="zoo:vgg11 gamma=0.1", hold="flops", minutes=7)
    assert options.out == tmp_path


def test_values_that_make_no_sense_are_an_error_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["search.py", "zoo:vgg11", "--select", "test"])
    with pytest.raises(SystemExit, match=r"^2$"):
        command_line.main()
    assert capsys.readouterr().err == (
        "error: a search that selects on the test images would report what it was fitted to; leave --select out\n"
    )


def test_help_needs_neither_torch_nor_ray() -> None:
    code = (
        "import sys; sys.argv[1:] = ['--help']\nimport benchmarks.search as s\ntry: s.main()\nexcept SystemExit: pass\n"
    )
    check = "sys.exit(bool({'torch', 'ray', 'optuna'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + check], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--hold {params,flops}" in done.stdout


def state(out: Path) -> dict[str, list[dict[str, float]]]:
    """The epochs of each trial and of each network trained in full, with the seconds that they took."""
    return {
        str(path.parent.relative_to(out)): [json.loads(line) for line in path.read_text().splitlines()]
        for path in out.rglob("metrics.jsonl")
    }


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_killed_at_three_moments_and_resumed(tmp_path: Path) -> None:
    (tmp_path / "layers.py").write_text(LAYERS)
    (tmp_path / "net.py").write_text(NET)
    out = tmp_path / "out"
    command = [sys.executable, str(ROOT / "benchmarks" / "search.py"), f"{tmp_path / 'net.py'}:Net", *FLAGS]
    moments = {"the search": ("search", 3), "random search": ("random", 1), "the training in full": ("full/seed-0", 1)}
    before: dict[str, list[dict[str, float]]] = {}
    for room, count in moments.values():
        resume = ["--resume"] if out.exists() else []
        process = subprocess.Popen([*command, "--out", str(out), *resume], cwd=ROOT, env=environment())
        while len([path for path in out.glob(f"{room}/*/metrics.jsonl") if path.exists()]) < count:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(5)  # what Ray started ends by itself
        now = state(out)
        for name, epochs in before.items():  # what was trained stays, to the second, and is not trained again
            assert now[name][: len(epochs)] == epochs
        before = now
        # However quick the machine is, the test is short.
        budget = json.loads((out / "budget.json").read_text())
        (out / "budget.json").write_text(json.dumps(budget | {"epochs": 12}))
    done = subprocess.run(
        [*command, "--out", str(out), "--resume"], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    now = state(out)
    for name, epochs in before.items():
        assert now[name][: len(epochs)] == epochs
    for name, epochs in now.items():
        assert [row["epoch"] for row in epochs] == list(range(1, len(epochs) + 1)), name
    begun = [path.parent for arm in ("search", "random") for path in out.glob(f"{arm}/*/trial.json")]
    assert all((folder / "ended.json").exists() for folder in begun)
    assert not list(out.glob("search/*/*.pt"))
    found = json.loads((out / "search.json").read_text())
    assert f'reconfig.apply(model, "{found["found"]["rule"]}", budget="params")' in done.stdout
    assert {each["rule"] for each in found["trials"]["search"]} >= {"w1:1", "w1:0.4"}  # the published rules were first
    assert "<svg" in (out / "landscape.html").read_text()
