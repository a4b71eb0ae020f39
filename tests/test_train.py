from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from small_training import EXPERIMENT, STEPS, Quiet, small_network, small_split, small_training
from torch import Tensor, nn

from benchmarks.harness import files
from benchmarks.harness.attacks import cross_entropy
from benchmarks.harness.files import CheckpointError
from benchmarks.harness.train import METHODS, TrainError, check_batch, learning_rate, sat
from recipes.experiment import Attack, Compute, Train

EPOCHS = EXPERIMENT.train.epochs


class KilledError(Exception):
    """Stands for a kill at a known place."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run from the beginning to the end."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    small_training(folder).run()
    return folder


def timeless(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def assert_same(path: Path, other: Path) -> None:
    """Bitwise the same weights, momentum and history."""
    first, second = files.load_checkpoint(path), files.load_checkpoint(other)
    for name, value in first["model"].items():
        assert torch.equal(value, second["model"][name]), name
    for number, state in first["optimizer"]["state"].items():
        assert torch.equal(state["momentum_buffer"], second["optimizer"]["state"][number]["momentum_buffer"])
    assert timeless(first["state"]["history"]) == timeless(second["state"]["history"])


def assert_ends_alike(folder: Path, uninterrupted: Path) -> None:
    for name in ("last.pt", "best.pt"):
        assert_same(folder / name, uninterrupted / name)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, EPOCHS + 1))


def test_it_learns(uninterrupted: Path) -> None:
    history = files.load_checkpoint(uninterrupted / "last.pt")["state"]["history"]
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["pgd20"] > 50  # three classes
    assert all(0 <= row["pgd20"] <= row["clean"] <= 100 for row in history[-1:])


def test_the_best_checkpoint_is_the_first_with_the_best_accuracy(uninterrupted: Path) -> None:
    history = files.load_checkpoint(uninterrupted / "last.pt")["state"]["history"]
    best = files.load_checkpoint(uninterrupted / "best.pt")["state"]
    top = max(row["pgd20"] for row in history)
    first = next(row for row in history if row["pgd20"] == top)
    assert best["epoch"] == first["epoch"]
    assert best["best"] == first


def test_of_equally_good_epochs_the_first_is_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.harness.train.accuracy", lambda *_: 50.0)
    small_training(tmp_path).run()
    assert files.load_checkpoint(tmp_path / "best.pt")["state"]["epoch"] == 1


def test_the_seed_decides_everything(uninterrupted: Path, tmp_path: Path) -> None:
    (tmp_path / "same").mkdir()
    (tmp_path / "other").mkdir()
    torch.manual_seed(123)  # whatever the global generator holds
    model = small_network()
    torch.rand(7)
    small_training(tmp_path / "same", model=model).run()
    assert_same(tmp_path / "same" / "last.pt", uninterrupted / "last.pt")
    small_training(tmp_path / "other", replace(EXPERIMENT, seed=1)).run()
    with pytest.raises(AssertionError):
        assert_same(tmp_path / "other" / "last.pt", uninterrupted / "last.pt")


@pytest.mark.parametrize("place", range(EPOCHS * STEPS))
def test_a_kill_after_any_step_changes_nothing(place: int, uninterrupted: Path, tmp_path: Path) -> None:
    class Killer(Quiet):
        def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
            if epoch * steps + step > place:
                raise KilledError

    with pytest.raises(KilledError):
        small_training(tmp_path, watcher=Killer()).run()
    small_training(tmp_path).run()
    assert_ends_alike(tmp_path, uninterrupted)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("place", range(0, 3 * EPOCHS + EPOCHS * STEPS - EPOCHS, 2))
def test_a_kill_around_any_replacement_of_a_file_changes_nothing(
    place: int, after: bool, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced, real = 0, os.replace

    def killing(source: Path, target: Path) -> None:
        nonlocal replaced
        if replaced == place and not after:
            raise KilledError
        real(source, target)
        if replaced == place:
            raise KilledError
        replaced += 1

    monkeypatch.setattr(os, "replace", killing)
    # Not every epoch is the best one, so the last places may not be reached.
    with suppress(KilledError):
        small_training(tmp_path).run()
    monkeypatch.setattr(os, "replace", real)
    small_training(tmp_path).run()
    assert_ends_alike(tmp_path, uninterrupted)


def test_a_kill_while_a_checkpoint_is_written_keeps_the_one_before(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = torch.save, 0

    def killing(state: object, path: Path) -> None:
        nonlocal count
        count += 1
        real(state, path)
        if count == 6:
            path.write_bytes(path.read_bytes()[:1000])
            raise KilledError

    monkeypatch.setattr(torch, "save", killing)
    with pytest.raises(KilledError):
        small_training(tmp_path).run()
    assert (tmp_path / "last.pt.unfinished").exists()
    state = files.load_checkpoint(tmp_path / "last.pt")["state"]
    assert state["epoch"] * STEPS + state["step"] == 5
    small_training(tmp_path).run()
    assert_ends_alike(tmp_path, uninterrupted)


def test_without_checkpoints_within_an_epoch_its_end_is_saved(uninterrupted: Path, tmp_path: Path) -> None:
    class Killer(Quiet):
        def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
            if (epoch, step) == (1, 3):
                raise KilledError

    with pytest.raises(KilledError):
        small_training(tmp_path, save_every=1000, watcher=Killer()).run()
    state = files.load_checkpoint(tmp_path / "last.pt")["state"]
    assert (state["epoch"], state["step"]) == (1, 0)
    small_training(tmp_path, save_every=1000).run()
    assert_ends_alike(tmp_path, uninterrupted)


def test_a_finished_run_resumed_does_nothing(uninterrupted: Path) -> None:
    class Strict(Quiet):
        def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
            raise AssertionError("a step was made")

    before = (uninterrupted / "last.pt").read_bytes()
    assert small_training(uninterrupted, watcher=Strict()).run().epoch == EPOCHS
    assert (uninterrupted / "last.pt").read_bytes() == before


def test_a_checkpoint_of_another_network_is_refused(uninterrupted: Path) -> None:
    other = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    with pytest.raises(CheckpointError, match=r"last\.pt is not of this network: .*Unexpected key"):
        small_training(uninterrupted, model=other)


def test_a_damaged_checkpoint_says_how_to_go_on(uninterrupted: Path, tmp_path: Path) -> None:
    for name in ("last.pt", "best.pt"):
        files.copy(uninterrupted / name, tmp_path / name)
    (tmp_path / "last.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"or copy .*best\.pt over it to go on from the best epoch$"):
        small_training(tmp_path)
    files.copy(tmp_path / "best.pt", tmp_path / "last.pt")
    small_training(tmp_path).run()
    assert_ends_alike(tmp_path, uninterrupted)
    (tmp_path / "last.pt").write_bytes(b"")
    (tmp_path / "best.pt").unlink()
    with pytest.raises(CheckpointError, match=r"Remove it to train this network from its beginning$"):
        small_training(tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    model = small_network()
    model[6].weight.data.fill_(float("nan"))
    with pytest.raises(TrainError, match=r"the loss became nan in epoch 1; try a lower --train\.lr"):
        small_training(tmp_path, model=model, save_every=1000).run()
    assert not (tmp_path / "last.pt").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda e: replace(e, train=replace(e.train, grad_clip=0.01)),
        lambda e: replace(e, train=replace(e.train, weight_decay=0.1)),
        lambda e: replace(e, train=replace(e.train, momentum=0.0)),
        lambda e: replace(e, train=replace(e.train, milestones=(Fraction(1, 3),))),
        lambda e: replace(e, train=replace(e.train, attack=Attack(steps=2, random_start=False))),
        lambda e: replace(e, threat=replace(e.threat, eps=Fraction(1, 255))),
        lambda e: replace(e, threat=replace(e.threat, norm="l2")),
        lambda e: replace(e, data=replace(e.data, flip=False)),
        lambda e: replace(e, data=replace(e.data, crop_padding=2)),
    ],
)
def test_every_field_has_an_effect(change: Callable[[object], object], uninterrupted: Path, tmp_path: Path) -> None:
    small_training(tmp_path, change(EXPERIMENT)).run()
    first = files.load_checkpoint(uninterrupted / "last.pt")["model"]["6.weight"]
    assert not torch.equal(first, files.load_checkpoint(tmp_path / "last.pt")["model"]["6.weight"])


@pytest.mark.parametrize("compute", [Compute("cpu", channels_last=True), Compute("cpu", precision="bf16")])
def test_compute_options_train_alike(compute: Compute, uninterrupted: Path, tmp_path: Path) -> None:
    small_training(tmp_path, compute=compute).run()
    rows = [files.load_checkpoint(folder / "last.pt")["state"]["history"] for folder in (tmp_path, uninterrupted)]
    for row, other in zip(*rows, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=0.05)
    weights = files.load_checkpoint(tmp_path / "last.pt")["model"]["0.weight"]
    assert weights.dtype == torch.float32
    assert weights.is_contiguous(memory_format=torch.channels_last) == compute.channels_last


def test_gradients_are_clipped(tmp_path: Path) -> None:
    clipped = replace(EXPERIMENT.train, grad_clip=1e-6, epochs=1, weight_decay=0.0)
    model = small_network()
    before = [parameter.clone() for parameter in model.parameters()]
    small_training(tmp_path, replace(EXPERIMENT, train=clipped), model).run()
    # Four steps of 0.1 with a gradient of at most 1e-6, summed by momentum 0.9.
    moved = max((after - value).abs().max().item() for after, value in zip(model.parameters(), before, strict=True))
    assert 0 < moved < 0.1 * 1e-6 * (4 + 3 * 0.9 + 2 * 0.81 + 0.729) + 1e-7


def test_learning_rate_decays_at_parts_of_the_epochs() -> None:
    rates = [learning_rate(Train(), epoch) for epoch in (0, 74, 75, 89, 90, 99)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    short = Train(epochs=4, lr=1.0)
    assert [learning_rate(short, epoch) for epoch in range(4)] == pytest.approx([1, 1, 1, 0.1])


def test_sat_is_cross_entropy_on_what_was_crafted() -> None:
    network, split = small_network().eval(), small_split(6)
    images = split.images.float() / 255

    def craft(images: Tensor, labels: Tensor, loss: object = cross_entropy) -> Tensor:
        return 1 - images

    loss, logits = sat(network, images, split.labels, craft)
    assert torch.equal(logits, network(1 - images))
    assert torch.equal(loss, F.cross_entropy(logits, split.labels))
    assert METHODS["sat"] is sat


def test_batches_that_do_not_fit() -> None:
    check_batch(Train(batch=8), images=8, processes=4)
    with pytest.raises(TrainError, match=r"train\.batch is 8, but there are only 7 training images"):
        check_batch(Train(batch=8), images=7, processes=1)
    with pytest.raises(TrainError, match=r"train\.batch is 8, which 3 processes cannot share equally"):
        check_batch(Train(batch=8), images=100, processes=3)


def test_the_state_is_plain_values(uninterrupted: Path) -> None:
    state = files.load_checkpoint(uninterrupted / "last.pt")["state"]
    assert json.loads(json.dumps(state)) == state
    assert asdict(small_training(uninterrupted).state) == state
