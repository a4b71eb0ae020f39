from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from reconfig.harness import files
from reconfig.harness.experiment import Attack, Compute, Data, Setting, Train
from reconfig.harness.jobs import short_training
from reconfig.harness.jobs.short_training import ShortTraining
from reconfig.harness.jobs.space import Space
from reconfig.harness.jobs.trials import Report
from reconfig.harness.network import Network

NET = """
from torch import nn

def layer(before, after):
    return nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU())

class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.features = nn.Sequential(layer(3, 4), layer(4, 8), layer(8, 8), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(self.features(x).flatten(1))
"""
SETTING = Setting(
    data=Data("digits", train_limit=60, test_limit=20, hold_out=20, flip=False),
    train=Train(epochs=3, batch=20, lr=0.05, attack=Attack(steps=1, step=Fraction(1))),
    compute=Compute(device="cpu"),
)
PARAMETERS = {"w2": 1.5, "w3": 0.5}


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    AcceleratorState._reset_state(reset_partial_state=True)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def objective(tmp_path: Path) -> ShortTraining:
    (tmp_path / "net.py").write_text(NET)
    files.write_json(tmp_path / "config.json", {})
    network, space = Network(f"{tmp_path / 'net.py'}:Net"), Space((4, 8, 8), (0, 0, 0), (False, False, False))
    return ShortTraining(network, ("params", 1_130), space, SETTING, tmp_path / "search", 0.0, 1)


def without_seconds(reports: list[Report]) -> list[tuple[float, int]]:
    return [(report.robust, report.epoch) for report in reports]


def test_a_trial_that_was_stopped_goes_on_from_its_checkpoint_and_repeats_nothing(objective: ShortTraining) -> None:
    whole = list(objective(PARAMETERS))
    folder = objective.folder(PARAMETERS)
    assert folder.name == "w1_1.5_0.5"
    metrics = (folder / "metrics.jsonl").read_text()
    assert [report.epoch for report in whole] == [1, 2, 3]
    assert all(report.seconds > 0 for report in whole)

    again = list(objective(PARAMETERS))  # its checkpoint is there still: all is reported, nothing is trained
    assert without_seconds(again) == without_seconds(whole)
    assert not any(report.seconds for report in again)
    assert (folder / "metrics.jsonl").read_text() == metrics

    for path in folder.iterdir():
        path.unlink()
    stopped = objective(PARAMETERS)
    first = next(stopped)
    stopped.close()  # as halving does, and as good as a kill after an epoch
    trial = short_training.read_trial(folder)
    assert trial is not None
    assert not trial.ended
    assert len(trial.history) == 1
    assert trial.known().robust == (first.robust,)
    rest = list(objective(PARAMETERS))
    assert without_seconds(rest) == without_seconds(whole)
    assert [report.seconds > 0 for report in rest] == [False, True, True]


def test_a_trial_that_ended_keeps_its_figures_and_no_checkpoint(objective: ShortTraining) -> None:
    stopped = objective(PARAMETERS)
    first = next(stopped)
    stopped.close()
    folder = objective.folder(PARAMETERS)
    short_training.end(folder)
    assert not list(folder.glob("*.pt"))
    assert without_seconds(list(objective(PARAMETERS))) == [(first.robust, 1)]  # proposed anew, it is not trained on
    (trial,) = short_training.read_trials(objective.arm)
    assert trial.ended
    assert trial.rule == "w1:1.5:0.5"
    assert abs(trial.params / 1_130 - 1) < 0.1


def test_a_rule_that_cannot_be_had_is_reported_and_remembered(objective: ShortTraining) -> None:
    short = ShortTraining(objective.network, ("params", 3), objective.space, SETTING, objective.arm, 0.0, 1)
    for _ in range(2):
        (report,) = short(PARAMETERS)
        assert report.robust == 0
        assert "budget of 3 params is below what this rule can reach" in report.error
    (trial,) = short_training.read_trials(short.arm)
    assert trial.ended
    assert trial.robust == (0.0,)


def test_a_trial_whose_file_is_damaged_names_it(objective: ShortTraining) -> None:
    folder = objective.folder(PARAMETERS)
    folder.mkdir(parents=True)
    (folder / "trial.json").write_text("{")
    with pytest.raises(short_training.files.CheckpointError, match=r"trial.json is damaged .* to have it tried again"):
        short_training.read_trial(folder)


def test_a_trial_is_behind_the_normalisation_of_its_search(objective: ShortTraining, tmp_path: Path) -> None:
    files.write_json(tmp_path / "config.json", {"normalisation": {"mean": [0.5] * 3, "std": [0.25] * 3}})
    next(objective(PARAMETERS))
    saved = files.load_checkpoint(objective.folder(PARAMETERS) / "last.pt")["model"]
    assert saved["std"].flatten().tolist() == [0.25] * 3
    assert "model.head.weight" in saved
