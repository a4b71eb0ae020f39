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
from helpers.small_training import EXPERIMENT, STEPS, Quiet, small_network, small_split, small_training
from torch import Tensor, nn

from reconfig.harness import files
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import TRAINING, Attack, Compute, Setting, Train, WeightPerturbation
from reconfig.harness.files import CheckpointError
from reconfig.harness.training import training
from reconfig.harness.training.checks import TrainError, check_images
from reconfig.harness.training.schedule import learning_rate, momentum

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
    monkeypatch.setattr("reconfig.harness.training.training.accuracy", lambda *_: 50.0)
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
        lambda e: replace(e, data=replace(e.data, rotate=20.0)),
        lambda e: replace(e, train=replace(e.train, attack_mode="train")),
        lambda e: replace(e, train=replace(e.train, momentum_low=0.5)),
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


def test_schedules() -> None:
    cosine = Train(epochs=4, lr=0.2, schedule="cosine")
    assert [learning_rate(cosine, epoch) for epoch in (0, 1, 2, 3)] == pytest.approx(
        [0.2, 0.1 + 0.1 / 2**0.5, 0.1, 0.1 - 0.1 / 2**0.5]
    )
    cyclic = Train(epochs=4, lr=0.2, schedule="cyclic")
    assert [learning_rate(cyclic, epoch) for epoch in (0, 0.5, 1, 2, 3, 3.5)] == pytest.approx(
        [0, 0.05, 0.1, 0.2, 0.1, 0.05]
    )


def test_the_cyclic_schedule_with_its_momentum_is_torchs_as_wong_et_al_take_it() -> None:
    train, steps = TRAINING["fast"], 20
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], train.lr, momentum=train.momentum)
    scheduler = torch.optim.lr_scheduler.CyclicLR(optimizer, 0, train.lr, step_size_up=steps / 2)
    for step in range(steps):
        (group,), epoch = optimizer.param_groups, step * train.epochs / steps
        assert learning_rate(train, epoch) == pytest.approx(group["lr"], abs=1e-9)
        assert momentum(train, epoch) == pytest.approx(group["momentum"], abs=1e-9)
        optimizer.step()
        scheduler.step()
    assert momentum(Train(), 3.7) == Train().momentum


def test_the_best_epoch_is_looked_for_after_a_part_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "accuracy", lambda *_: 50.0)  # so that the first that may be is the best
    for part, epoch in ((Fraction(0), 1), (Fraction(1, 2), 3), (Fraction(2, 3), 3), (Fraction(99, 100), 3)):
        folder = tmp_path / str(float(part))
        folder.mkdir()
        later = replace(EXPERIMENT, evaluate=replace(EXPERIMENT.evaluate, select_after=part))
        state = small_training(folder, later).run()
        assert state.best is not None
        assert state.best["epoch"] == epoch
        assert files.load_checkpoint(folder / "best.pt")["state"]["epoch"] == epoch


def test_a_training_leaves_no_compiled_call_in_the_network(tmp_path: Path) -> None:
    model = small_network()
    training_of = small_training(tmp_path, model=model, compute=Compute("cpu", compile=True))
    assert training_of.running is not model
    assert all(module._compiled_call_impl is None for module in model.modules())


def small(**changes: object) -> Setting:
    return replace(EXPERIMENT, train=replace(EXPERIMENT.train, **changes))


METHODS = {
    "trades": small(method="trades", grad_clip=None),
    "mart": small(method="mart"),
    "fast": small(method="fast", schedule="cyclic", attack=Attack(steps=1, step=Fraction(5, 4))),
    "fast as published": small(
        method="fast",
        schedule="cyclic",
        attack=Attack(steps=1, step=Fraction(5, 4)),
        attack_mode="train",
        momentum_low=0.8,
    ),
    "awp": small(awp=WeightPerturbation(size=0.01, warmup=1)),
    "average": small(average=0.9),
    "everything": small(method="trades", schedule="cosine", awp=WeightPerturbation(size=0.01), average=0.5),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_and_goes_on_where_it_was_killed(name: str, tmp_path: Path, uninterrupted: Path) -> None:
    class Killer(Quiet):
        def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
            if (epoch, step) in ((0, 3), (2, 1)):
                raise KilledError

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    history = small_training(whole, METHODS[name]).run().history
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["clean"] > 40  # three classes
    for _ in range(2):
        with pytest.raises(KilledError):
            small_training(killed, METHODS[name], watcher=Killer()).run()
    small_training(killed, METHODS[name]).run()
    assert_ends_alike(killed, whole)
    with pytest.raises(AssertionError):
        assert_same(whole / "last.pt", uninterrupted / "last.pt")


def test_awp_begins_after_its_warmup(tmp_path: Path, uninterrupted: Path) -> None:
    small_training(tmp_path, small(awp=WeightPerturbation(size=0.01, warmup=EPOCHS))).run()
    assert_same(tmp_path / "last.pt", uninterrupted / "last.pt")


def test_the_mean_is_measured_and_the_weights_go_on_without_it(tmp_path: Path, uninterrupted: Path) -> None:
    training = small_training(tmp_path, METHODS["average"])
    training.run()
    averaged, plain = (files.load_checkpoint(folder / "last.pt") for folder in (tmp_path, uninterrupted))
    for name, value in plain["model"].items():
        assert torch.equal(value, averaged["trained"][name]), name
    assert "trained" not in plain
    assert not torch.equal(averaged["model"]["6.weight"], averaged["trained"]["6.weight"])
    assert torch.equal(averaged["model"]["6.weight"], training.measured.state_dict()["6.weight"])
    images = training.selection.images.float() / 255
    with torch.no_grad():
        right = training.measured.eval()(images).argmax(1) == training.selection.labels
    assert averaged["state"]["history"][-1]["clean"] == pytest.approx(100 * right.float().mean().item())


def extra_images() -> Split:
    split = small_split(30, seed=2)
    return Split(split.images + 1, split.labels)  # no other image is that bright


def test_extra_images_fill_their_part_of_each_batch(tmp_path: Path) -> None:
    experiment = replace(EXPERIMENT, data=replace(EXPERIMENT.data, extra_part=Fraction(3, 8)))
    training = small_training(tmp_path, experiment, extra=extra_images())
    batch = training.batch(torch.arange(len(training.images)), 1)
    assert len(batch) == 8
    assert torch.equal(batch.images[:5], training.images[slice(5, 10)].images)
    pool = {image.numpy().tobytes() for image in extra_images().images}
    drawn = [image.numpy().tobytes() in pool for image in batch.images]
    assert drawn == [False] * 5 + [True] * 3
    assert torch.equal(batch.images, training.batch(torch.arange(len(training.images)), 1).images)
    assert not torch.equal(batch.images[5:], training.batch(torch.arange(len(training.images)), 2).images[5:])


def test_rst_is_trades_with_extra_images(tmp_path: Path) -> None:
    (tmp_path / "trades").mkdir()
    (tmp_path / "rst").mkdir()
    for name in ("trades", "rst"):
        state = small_training(tmp_path / name, small(method=name), extra=extra_images()).run()
        assert state.history[-1]["clean"] > 40
    assert_same(tmp_path / "trades" / "last.pt", tmp_path / "rst" / "last.pt")
    with pytest.raises(TrainError, match=r"rst trains on extra images as well; say with --data\.extra where they are"):
        small_training(tmp_path, small(method="rst"))


def test_batches_that_do_not_fit() -> None:
    check_images(Train(batch=8), {"train": 8}, processes=4)
    with pytest.raises(TrainError, match=r"train\.batch is 8, but there are only 7 training images"):
        check_images(Train(batch=8), {"train": 7}, processes=1)
    with pytest.raises(TrainError, match=r"train\.batch is 8, which 3 processes cannot share equally"):
        check_images(Train(batch=8), {"train": 100}, processes=3)


def test_the_state_is_plain_values(uninterrupted: Path) -> None:
    state = files.load_checkpoint(uninterrupted / "last.pt")["state"]
    assert json.loads(json.dumps(state)) == state
    assert asdict(small_training(uninterrupted).state) == state
