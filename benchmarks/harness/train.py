"""Adversarial training that can be killed at any moment and goes on as if it had not been.

A training method is a function of a batch; everything around it (order, augmentation, optimiser, checkpoints,
selection) is the same for all of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn

from benchmarks.harness import files
from benchmarks.harness.attacks import perturb, random_start
from benchmarks.harness.data import Split, augment
from benchmarks.harness.evaluate import ATTACKS, SELECTION, accuracy
from benchmarks.harness.files import CheckpointError
from benchmarks.harness.machine import Machine
from benchmarks.harness.randomness import derived_seed, generator
from recipes.experiment import Experiment, Train
from reconfig import ReconfigError

Craft = Callable[..., Tensor]
"""craft(images, labels, loss=..., start=...) -> adversarial images: ``perturb`` with all else filled in."""
Method = Callable[[nn.Module, Tensor, Tensor, Craft], tuple[Tensor, Tensor]]
"""(network, images, labels, craft) -> the loss to minimise, a mean over the batch, and the logits it saw."""


class TrainError(ReconfigError):
    """Training that cannot begin or go on."""


class Watcher(Protocol):
    """Who is told how training goes."""

    def step(self, epoch: int, step: int, steps: int, loss: Tensor) -> None:
        """``step`` of ``steps`` steps of ``epoch`` (from 0) are done, with this mean loss, on the device."""

    def epoch(self, row: dict[str, Any], steps: int) -> None:
        """An epoch of ``steps`` steps ended with these metrics."""


def sat(network: nn.Module, images: Tensor, labels: Tensor, craft: Craft) -> tuple[Tensor, Tensor]:
    """Standard adversarial training: cross-entropy on adversarial images (Madry et al., 2018, eq. 2.1)."""
    logits = network(craft(images, labels))
    return F.cross_entropy(logits, labels), logits


METHODS: dict[str, Method] = {"sat": sat}


@dataclass
class State:
    """Where training stands, beside the weights and the momentum."""

    epoch: int = 0
    """Epochs finished."""
    step: int = 0
    """Steps finished of the epoch under way."""
    loss: float = 0.0
    """Sum of the losses of these steps."""
    correct: int = 0
    """Adversarial training images classified correctly in these steps."""
    seconds: float = 0.0
    """Time spent training, over all resumptions."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """The metrics of each epoch."""
    best: dict[str, Any] | None = None
    """The row of the history with the best selection accuracy; the earliest of equals."""


def learning_rate(train: Train, epoch: int) -> float:
    """The rate of an epoch, counted from 0: multiplied by ``decay`` at each milestone that it has reached."""
    return train.lr * train.decay ** sum(epoch >= part * train.epochs for part in train.milestones)


def check_batch(train: Train, images: int, processes: int) -> None:
    """See that ``images`` make at least one batch, and that ``processes`` can share it equally.

    Raises:
        TrainError: If not.
    """
    if train.batch > images:
        raise TrainError(f"train.batch is {train.batch}, but there are only {images} training images")
    if train.batch % processes:
        raise TrainError(f"train.batch is {train.batch}, which {processes} processes cannot share equally")


class Training:
    """The training of one network, from the last checkpoint in ``folder``, if any, to the last epoch.

    ``run`` trains ``model`` in place and leaves in ``folder``: ``last.pt`` (model, optimiser, state; also every
    ``save_every`` seconds within an epoch), ``best.pt`` (the same of the epoch with the best PGD-20 accuracy on
    ``selection``) and ``metrics.jsonl`` (a row per epoch).

    Raises:
        TrainError: If the loss stops being finite.
        CheckpointError: If the checkpoint is damaged or of another network.
    """

    def __init__(
        self,
        machine: Machine,
        experiment: Experiment,
        model: nn.Module,
        images: Split,
        selection: Split,
        folder: Path,
        save_every: float,
        watcher: Watcher,
    ) -> None:
        train = experiment.train
        self.machine, self.experiment = machine, experiment
        self.images, self.selection = images, selection
        self.folder, self.save_every, self.watcher = folder, save_every, watcher
        self.steps = len(images) // train.batch
        self.state = State()
        # Attacks use the bare model: through DDP every backward would synchronise gradients for nothing.
        self.model = machine.place(model)
        optimizer = torch.optim.SGD(
            model.parameters(), train.lr, momentum=train.momentum, weight_decay=train.weight_decay
        )
        self.network: nn.Module
        self.optimizer: AcceleratedOptimizer
        self.network, self.optimizer = machine.accelerator.prepare(self.model, optimizer)
        self.craft = partial(perturb, self.model, threat=experiment.threat, attack=train.attack)
        if (folder / "last.pt").exists():
            self._restore()
        self.saved_at = self.resumed_at = time.monotonic()
        self.seconds_before = self.state.seconds

    def run(self) -> State:
        """Train to the end; the state there."""
        while self.state.epoch < self.experiment.train.epochs:
            self._epoch()
        return self.state

    def _epoch(self) -> None:
        state, train, seed = self.state, self.experiment.train, self.experiment.seed
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(train, state.epoch)
        order = torch.randperm(len(self.images), generator=generator("cpu", "order", seed, state.epoch))
        order = order.to(self.machine.device)
        loss = torch.tensor(state.loss, device=self.machine.device)
        correct = torch.tensor(state.correct, device=self.machine.device)
        for step in range(state.step, self.steps):
            rows = order[step * train.batch : (step + 1) * train.batch]
            step_loss, step_correct = self._step(self.images[rows], step)
            loss += step_loss
            correct += step_correct
            state.step = step + 1
            self.watcher.step(state.epoch, state.step, self.steps, loss / state.step)
            if time.monotonic() - self.saved_at >= self.save_every and state.step < self.steps:
                state.loss, state.correct = loss.item(), int(correct.item())
                self._save()
        self._finish_epoch(loss.item() / self.steps, 100 * correct.item() / (self.steps * train.batch))

    def _step(self, batch: Split, step: int) -> tuple[Tensor, Tensor]:
        """One step on a whole batch; the loss and the number of correct answers, over all processes."""
        machine, experiment = self.machine, self.experiment
        key = (experiment.seed, self.state.epoch, step)
        draws = generator(machine.device, "batch", *key)
        images = machine.floats(augment(batch.images, experiment.data.crop_padding, experiment.data.flip, draws))
        start = None
        if experiment.train.attack.random_start:
            start = machine.share(random_start(images, experiment.threat, draws))
        images, labels = machine.share(images), machine.share(batch.labels)

        # Dropout and drop path draw from the global generator.
        torch.manual_seed(derived_seed("network", *key, machine.accelerator.process_index))
        self.network.train()
        method = METHODS[experiment.train.method]
        loss, logits = method(self.network, images, labels, partial(self.craft, start=start))
        self.optimizer.zero_grad()
        machine.accelerator.backward(loss)
        if experiment.train.grad_clip is not None:
            machine.accelerator.clip_grad_norm_(self.network.parameters(), experiment.train.grad_clip)
        self.optimizer.step()
        correct = (logits.argmax(1) == labels).sum()
        return machine.total(loss.detach() / machine.accelerator.num_processes), machine.total(correct)

    def _finish_epoch(self, loss: float, train_accuracy: float) -> None:
        state = self.state
        if not math.isfinite(loss):
            raise TrainError(
                f"the loss became {loss} in epoch {state.epoch + 1}; try a lower --train.lr and another --out"
            )
        self.machine.agree_on_buffers(self.model)
        measure = partial(accuracy, self.machine, self.model, self.selection, self.experiment)
        row = {
            "epoch": state.epoch + 1,
            "lr": learning_rate(self.experiment.train, state.epoch),
            "loss": loss,
            "train_robust": train_accuracy,
            "clean": measure(),
            SELECTION: measure(ATTACKS[SELECTION]),
            "seconds": self._seconds(),
        }
        state.history.append(row)
        if state.best is None or row[SELECTION] > state.best[SELECTION]:
            state.best = row
        state.epoch, state.step, state.loss, state.correct = state.epoch + 1, 0, 0.0, 0
        self._save()
        self._save_best()
        self.machine.accelerator.log({f"{self.folder.name}/{name}": value for name, value in row.items()}, row["epoch"])
        self.watcher.epoch(row, self.steps)

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.resumed_at

    def _save(self) -> None:
        self.saved_at = time.monotonic()
        self.state.seconds = self._seconds()
        if self.machine.main:
            files.save_checkpoint(
                self.folder / "last.pt",
                {
                    "model": self.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "state": asdict(self.state),
                },
            )

    def _save_best(self) -> None:
        """Write what follows from the checkpoint of an epoch's end. Done again, it changes nothing."""
        state = self.state
        if self.machine.main:
            files.write_json_lines(self.folder / "metrics.jsonl", state.history)
            if state.best is not None and state.best["epoch"] == state.epoch:
                files.copy(self.folder / "last.pt", self.folder / "best.pt")

    def _restore(self) -> None:
        path = self.folder / "last.pt"
        best = path.with_name("best.pt")
        remedy = "Remove it to train this network from its beginning"
        if best.exists():
            remedy += f", or copy {best} over it to go on from the best epoch"
        checkpoint = files.load_checkpoint(path, remedy)
        try:
            self.model.load_state_dict(checkpoint["model"])
            self.optimizer.load_state_dict(checkpoint["optimizer"])
            self.state = State(**checkpoint["state"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path} is not of this network: {files.reason(error)}") from error
        if self.state.step == 0:  # a kill may have come between the two files
            self._save_best()
