from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from helpers.tiny_run import TINY, command, environment

import reconfig
from benchmarks import run
from recipes import discover
from reconfig import zoo
from reconfig.harness import files
from reconfig.harness.jobs.job import Job
from reconfig.harness.jobs.outcome import Outcome
from reconfig.harness.studies import comparison
from reconfig.harness.training.training import Training

Main = Callable[..., int]


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Iterator[Main]:
    """``benchmarks/run.py`` with arguments, in this process; its exit code."""

    def call(*arguments: str) -> int:
        AcceleratorState._reset_state(reset_partial_state=True)
        monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
        return run.main()

    threads = torch.get_num_threads()
    yield call
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a finished tiny run."""
    out = tmp_path_factory.mktemp("finished") / "runs" / "tiny"
    done = subprocess.run(command(out), env=environment(), cwd=out.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (out.parents[1] / "printed").write_text(done.stdout)
    return out


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def flat(text: str) -> str:
    """Messages in boxes, without the boxes and line breaks."""
    return " ".join(text.replace("│", " ").split())


def test_rst_without_extra_images_is_refused_before_anything_is_written(
    main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(*TINY, "--train.method", "rst", "--out", str(tmp_path / "out")) == 1
    assert "rst trains on extra images as well; say with --data.extra where they are" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- what a run leaves


def test_the_folder_holds_all_that_was_promised(finished: Path) -> None:
    names = sorted(str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file())
    each = ("best.pt", "last.pt", "metrics.jsonl", "outcome.json", "plan.json", "examples.safetensors")
    places = [f"{place}/{name}" for place in ("original", "variant") for name in each]
    verdicts = [name for name in names if name.endswith("/verdicts.safetensors")]
    assert {name.partition("/")[0] for name in verdicts} == {"original", "variant"}
    report = ["config.json", "report.html", "result.json", "table.md", "table.tex"]
    assert names == sorted([*places, *verdicts, *report])


def test_it_prints_progress_the_table_and_where_the_report_lies(finished: Path) -> None:
    printed = (finished.parents[1] / "printed").read_text()
    assert "epoch 2/2  loss" in printed
    assert "images/s" in printed
    assert "zoo:vgg11 10-10-4 γ=0.04" in printed
    assert "FGSM best" in printed
    assert printed.splitlines()[-1] == f"Report: {finished / 'report.html'} (also table.md, table.tex, result.json)"


def test_the_result_says_all_that_is_needed_to_repeat_it(finished: Path) -> None:
    result = files.read_json(finished / "result.json")
    assert result["experiment"]["train"]["epochs"] == 2
    assert result["experiment"]["threat"] == {"norm": "linf", "eps": "8/255"}
    assert result["data"]["train"] == 64
    assert (result["data"]["selection"], result["data"]["test"]) == (16, 20)
    assert result["seed"] == 0
    assert result["hardware"]["threads"] == 1
    assert result["versions"]["torch"] == torch.__version__
    assert result["command"].startswith("python ")
    assert result["command"].endswith(f"--save-every 0 --out {finished}")
    for place, rule in (("original", "10-10-10"), ("variant", "10-10-4")):
        (outcome,) = result["networks"][place]
        plan = reconfig.plan(zoo.vgg11(), rule, gamma=0.04, example_input=torch.zeros(1, 3, 32, 32))
        assert (outcome["params"], outcome["flops"]) == (plan.params, plan.flops)
        assert set(outcome["scores"]) == {"last", "best"}
        assert outcome["epochs"]["last"] == 2
        assert outcome["seconds"] > 0


def test_the_plan_remakes_the_network(finished: Path) -> None:
    plan = reconfig.Plan.from_json((finished / "variant" / "plan.json").read_text())
    model = plan.apply(zoo.vgg11(num_classes=10))
    model.load_state_dict(files.load_checkpoint(finished / "variant" / "best.pt")["model"])


def test_metrics_have_a_row_per_epoch(finished: Path) -> None:
    rows = [json.loads(line) for line in (finished / "original" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert set(rows[0]) == {"epoch", "lr", "loss", "train_robust", "clean", "pgd20", "seconds"}


def test_a_finished_run_resumed_shows_the_table_again(
    finished: Path, main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copied(finished, tmp_path / "out")
    (out / "table.md").unlink()
    before = (out / "variant" / "last.pt").stat().st_mtime_ns
    assert main(*TINY, "--out", str(out), "--resume") == 0
    assert (out / "table.md").read_text() == (finished / "table.md").read_text()
    assert (out / "variant" / "last.pt").stat().st_mtime_ns == before
    assert "Report: " in capsys.readouterr().out


def test_a_finished_run_takes_more_attacks(
    finished: Path, main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copied(finished, tmp_path / "out")
    before = (out / "variant" / "last.pt").stat().st_mtime_ns
    assert main(*TINY, "--evaluate.attacks", "fgsm", "cw-batch", "cw", "--out", str(out), "--resume") == 0
    assert "measuring the" in capsys.readouterr().out
    table = (out / "table.md").read_text()
    assert "| CW (batch sum) best |" in table or "CW (batch sum) best" in table.splitlines()[0]
    assert "Computed in fp32, channels last: clean, FGSM, CW (batch sum), CW." in table
    assert (out / "variant" / "last.pt").stat().st_mtime_ns == before
    assert files.read_json(out / "config.json")["evaluate"]["attacks"] == ["fgsm", "cw-batch", "cw"]
    measured = (out / "variant" / "outcome.json").stat().st_mtime_ns
    assert main(*TINY, "--out", str(out), "--resume") == 0  # fewer: what was measured stays
    assert (out / "variant" / "outcome.json").stat().st_mtime_ns == measured
    assert "CW (batch sum)" in (out / "table.md").read_text()


def test_select_test_trains_on_everything(main: Main, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(*TINY, "--out", str(out), "--select", "test", "--train.epochs", "1") == 0
    result = files.read_json(out / "result.json")
    assert (result["data"]["train"], result["data"]["selection"], result["select"]) == (80, 20, "test")
    assert "on the test images" in (out / "table.md").read_text()


@pytest.mark.slow
def test_seeds_are_run_one_after_the_other_and_none_twice(
    main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, complete, begun = tmp_path / "out", comparison.complete, []

    def three(each: Job, *rest: Any) -> Outcome:
        if len(begun) == 3:
            raise KeyboardInterrupt
        begun.append(str(each.folder.relative_to(out)))
        return complete(each, *rest)

    monkeypatch.setattr(comparison, "complete", three)
    arguments = [*TINY, "--train.epochs", "1", "--seeds", "2", "--seed", "5", "--out", str(out)]
    assert main(*arguments) == 130
    assert begun == ["seed-5/original", "seed-5/variant", "seed-6/original"]
    before = {path: path.stat().st_mtime_ns for each in begun for path in (out / each).rglob("*") if path.is_file()}
    monkeypatch.undo()
    capsys.readouterr()

    assert main(*arguments, "--resume") == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert capsys.readouterr().out.count("finished before") == 3
    result = files.read_json(out / "result.json")
    assert [run["seed"] for run in result["networks"]["variant"]] == [5, 6]
    robust = [run["scores"]["best"]["fgsm"] for run in result["networks"]["variant"]]
    assert result["statistics"]["fgsm"]["best"]["variant"]["mean"] == pytest.approx(sum(robust) / 2)
    assert "seeds 5, 6 (mean ± standard deviation)" in (out / "table.md").read_text()
    weights = [files.load_checkpoint(out / f"seed-{seed}" / "original" / "last.pt")["model"] for seed in (5, 6)]
    assert not torch.equal(weights[0]["classifier.weight"], weights[1]["classifier.weight"])


def test_the_data_can_come_from_the_environment(main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONFIG_DATA", "digits")
    tiny = ["vgg11", *TINY[1:]]
    shrunk = ["--original.rule", "10-10-10", "--train.epochs", "1"]
    assert main(*tiny, *shrunk, "--out", str(tmp_path / "out")) == 0
    assert "paper: VGG-11-R" in (tmp_path / "out" / "table.md").read_text()


# ---------------------------------------------------------------- the command line


def test_help_lists_the_recipes(capsys: pytest.CaptureFixture[str], main: Main) -> None:
    with pytest.raises(SystemExit) as exit:
        main("--help")
    assert exit.value.code == 0
    printed = flat(capsys.readouterr().out)
    for name, recipe in discover().items():
        assert f"• {name}" in printed
        assert (recipe.__doc__ or "").strip().splitlines()[0][:30] in printed


def test_help_of_a_recipe_lists_every_field(capsys: pytest.CaptureFixture[str], main: Main) -> None:
    with pytest.raises(SystemExit):
        main("vgg11", "--help")
    printed = capsys.readouterr().out

    def flags(fields: dict[str, object], prefix: str) -> Iterator[str]:
        for name, value in fields.items():
            if isinstance(value, dict):
                yield from flags(value, f"{prefix}{name}.")
            elif name != "paper":
                yield f"--{prefix}{name}".replace("_", "-")

    for flag in (*flags(asdict(discover()["vgg11"]()), ""), "--data", "--out", "--resume", "--seed", "--select"):
        assert flag in printed, flag


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["vgg12"],
            "Unrecognized options: vgg12 .* Available subcommands: darts, demo, densenet121, .*vgg11, wrn34",
        ),
        ([], "Expected one of {" + ", ".join([*discover(), "any"]) + "}"),
        (
            ["vgg11", "--train.epoch", "3"],
            "Unrecognized options: --train.epoch, 3 .* Perhaps you meant: --train.epochs",
        ),
        (["vgg11", "--train.epochs", "many"], "--train.epochs.*many"),
        (["vgg11", "--train.epochs", "0"], "train.epochs must be at least 1, not 0"),
        (["vgg11", "--threat.eps", "8/0"], "--threat.eps: 8/0 divides by zero"),
        (["vgg11", "--threat.norm", "l7"], "--threat.norm.*linf.*l2"),
        (["vgg11", "--select", "best"], "--select.*holdout.*test"),
    ],
)
def test_a_command_line_that_is_wrong(
    arguments: list[str], message: str, main: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit:
        main(*arguments)
    assert exit.value.code == 2
    captured = capsys.readouterr()
    assert re.search(message, flat(captured.out + captured.err))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "the data folder nowhere does not exist"),
        (["--data.hold-out", "80"], "data.hold_out is 80, but there are only 80 training images"),
        (["--train.batch", "65"], "train.batch is 65, but there are only 64 training images"),
        (["--original.model", "zoo:vgg12"], "reconfig.zoo has no network 'vgg12'; the nearest are vgg1"),
        (["--variant.rule", "10"], "rule"),
        (["--variant.rule", "10-9-8-7-6-5"], "stages"),
        (["--variant.gamma", "-1"], "gamma"),
        (["--variant.budget", "3"], "budget"),
        (["--tracker", "paper"], "knows no tracker paper; give --tracker none"),
    ],
)
def test_what_cannot_run_is_said_before_anything_is_written(
    arguments: list[str], message: str, main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(*TINY, "--out", str(tmp_path / "out"), *arguments) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("offline")
def test_without_data_it_says_how_to_get_some(main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("vgg11", "--out", str(tmp_path / "out")) == 1
    printed = capsys.readouterr().err
    assert "\nerror: no data: neither --data nor the environment variable RECONFIG_DATA is set." in printed
    assert "CIFAR10('data', download=True)" in printed


# ---------------------------------------------------------------- the output folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(main: Main, out: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a run into ``out`` is refused with; nothing in it may change."""
    before = contents(out)
    assert main(*TINY, "--out", str(out), *arguments) == 1
    assert contents(out) == before
    return capsys.readouterr().err


def test_a_folder_in_use_needs_resume(
    finished: Path, main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copied(finished, tmp_path / "out")
    message = refused(main, out, capsys)
    assert "already holds config.json, original, report.html, result.json, ...; nothing was changed" in message
    assert "Add --resume" in message


def test_a_folder_of_something_else_is_left_alone(
    main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("chapter 1")
    message = refused(main, tmp_path, capsys, "--resume")
    assert "holds thesis.tex but no config.json" in message


def test_a_file_is_no_folder(main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(*TINY, "--out", str(tmp_path / "file")) == 1
    assert "file is a file; give the name of a folder with --out" in capsys.readouterr().err


@pytest.mark.slow
def test_resume_without_a_run_begins_one(main: Main, tmp_path: Path) -> None:
    arguments = ("--train.epochs", "1", "--resume")
    assert main(*TINY, *arguments, "--out", str(tmp_path / "new")) == 0
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "config.json.unfinished").write_text("{")
    assert main(*TINY, *arguments, "--out", str(tmp_path / "killed")) == 0
    assert not (tmp_path / "killed" / "config.json.unfinished").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train.epochs", "3"], "train.epochs was 2 and is now 3"),
        (["--threat.eps", "4/255"], "threat.eps was 8/255 and is now 4/255"),
        (["--seed", "1", "--train.lr", "0.2"], "seed was 0 and is now 1; train.lr was 0.05 and is now 0.2"),
        (["--variant.rule", "10-10-2"], "variant.rule was 10-10-4 and is now 10-10-2"),
    ],
)
def test_resume_with_another_recipe_names_the_fields(
    arguments: list[str],
    message: str,
    finished: Path,
    main: Main,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = copied(finished, tmp_path / "out")
    assert message in refused(main, out, capsys, "--resume", *arguments)


def test_resume_with_other_images_is_refused(
    finished: Path, main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copied(finished, tmp_path / "out")
    config = files.read_json(out / "config.json")
    files.write_json(out / "config.json", config | {"images": "others"})
    assert "images was others and is now " in refused(main, out, capsys, "--resume")


def test_resume_may_find_the_same_images_elsewhere(
    finished: Path, main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copied(finished, tmp_path / "out")
    config = files.read_json(out / "config.json")
    config["data"]["path"] = "/before/the/move"
    files.write_json(out / "config.json", config)
    assert main(*TINY, "--out", str(out), "--resume") == 0


@pytest.mark.parametrize("name", ["original/last.pt", "variant/best.pt", "config.json", "original/outcome.json"])
def test_a_damaged_file_is_named_and_nothing_is_lost(
    name: str, finished: Path, main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copied(finished, tmp_path / "out")
    if name.endswith(".pt"):
        (out / name).with_name("outcome.json").unlink()  # as if it had been killed before measuring
    content = (out / name).read_bytes()
    (out / name).write_bytes(content[: len(content) // 2])
    message = refused(main, out, capsys, "--resume")
    assert f"{out / name} is damaged" in message
    assert "nothing was changed" in message


def test_an_outcome_of_another_version_is_named(
    finished: Path, main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copied(finished, tmp_path / "out")
    path = out / "original" / "outcome.json"
    files.write_json(path, files.read_json(path) | {"accuracy": 80.0})
    message = refused(main, out, capsys, "--resume")
    assert f"{path} is not of this version" in message
    assert "Remove it to have the network measured again" in message


def test_ctrl_c_says_how_to_go_on(
    main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "_finish_epoch", interrupt)
    out = tmp_path / "out"
    assert main(*TINY, "--out", str(out)) == 130
    printed = capsys.readouterr().err
    assert f"stopped; to go on: python run.py {' '.join(TINY)} --out {out} --resume" in printed
    monkeypatch.undo()
    assert files.load_checkpoint(out / "original" / "last.pt")["state"]["step"] == 3
