"""Adversarial training that can be killed at any moment and goes on as if it had not been.

The methods are in ``losses``; everything around them (order, augmentation, optimiser, weight perturbation and
averaging, checkpoints, selection) is here, and the same for all of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor, nn

from reconfig.harness import files
from reconfig.harness.attacks.gradient import ATTACKS, perturb
from reconfig.harness.data.augmentation import augment, rotate
from reconfig.harness.data.crops import Crops, draw
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Setting
from reconfig.harness.files import CheckpointError
from reconfig.harness.machine import memory, trackers
from reconfig.harness.machine.folding import fixed, in_form
from reconfig.harness.machine.machine import Machine
from reconfig.harness.measuring.predictions import SELECTION, accuracy
from reconfig.harness.randomness import derived_seed, generator
from reconfig.harness.training.attack_form import decide
from reconfig.harness.training.averaging import average
from reconfig.harness.training.checks import TrainError, check_images
from reconfig.harness.training.methods import METHODS
from reconfig.harness.training.schedule import learning_rate, momentum
from reconfig.harness.training.state import State, Watcher
from reconfig.harness.training.weight_perturbation import perturbed, worst_direction

LossOf = Callable[[nn.Module], tuple[Tensor, Tensor]]
"""The loss and logits of a network on a batch that is already attacked."""


class Training:
    """The training of one network, from the last checkpoint in ``folder``, if any, to the last epoch.

    ``run`` trains ``model`` in place and leaves in ``folder``: ``last.pt`` (model, optimiser, state; also every
    ``save_every`` seconds within an epoch), ``best.pt`` (the same of the epoch with the best PGD-20 accuracy on
    ``selection``) and ``metrics.jsonl`` (a row per epoch). Where weights are averaged, the mean is what is measured
    and what a checkpoint calls its model; the weights under training are beside it.

    With ``extra`` images every batch holds a part of them, drawn with replacement, and an epoch has as many batches
    as it would without (Carmon et al., 2019).

    Raises:
        TrainError: If the loss stops being finite, or RST has no extra images.
        CheckpointError: If the checkpoint is damaged or of another network.
    """

    def __init__(
        self,
        machine: Machine,
        experiment: Setting,
        model: nn.Module,
        images: Split,
        selection: Split,
        folder: Path,
        save_every: float,
        watcher: Watcher,
        extra: Split | None = None,
    ) -> None:
        train = experiment.train
        counts = {"train": len(images), "extra": 0 if extra is None else len(extra)}
        check_images(train, counts, machine.accelerator.num_processes)
        self.machine, self.experiment = machine, experiment
        self.images, self.selection = images, selection
        self.folder, self.save_every, self.watcher = folder, save_every, watcher
        self.extra = None if extra is None else extra.to(machine.device)
        self.from_extra = 0 if extra is None else round(train.batch * experiment.data.extra_part)
        self.steps = len(images) // train.batch
        self.state = State()
        self.method = METHODS[train.method]
        self.model = machine.set_up(model)
        # Attacks run the network without DDP, in which every backward would synchronise gradients for nothing.
        self.running = machine.compile(self.model)
        self.mean: nn.Module | None = None
        if train.average:  # before accelerate ties the model's forward to the model itself
            self.mean = machine.set_up(deepcopy(self.model))
            self.running_mean = machine.accelerator.prepare_model(machine.compile(self.mean), evaluation_mode=True)
        optimizer = torch.optim.SGD(
            model.parameters(), train.lr, momentum=train.momentum, weight_decay=train.weight_decay
        )
        self.network: nn.Module
        self.optimizer: AcceleratedOptimizer
        self.network, self.optimizer = machine.accelerator.prepare(self.running, optimizer)
        self.attacked = self._attacked()
        self.attack = machine.as_graph(self._attack)
        if (folder / "last.pt").exists():
            self._restore()
        self.saved_at = self.resumed_at = time.monotonic()
        self.seconds_before = self.state.seconds

    def run(self, until: int | None = None) -> State:
        """Train to the end, or to that of epoch ``until`` (from 1); the state there."""
        epochs = self.experiment.train.epochs
        with memory.kept():
            while self.state.epoch < (epochs if until is None else min(until, epochs)):
                self._epoch()
        return self.state

    def _attacked(self) -> nn.Module:
        """The network as attacks run it."""
        if self.experiment.train.attack_mode == "train" or self.machine.compute.attack == "plain":
            return self.running
        machine, count = self.machine, self.experiment.train.batch
        shape = (len(machine.share(torch.arange(count))), *self.images[torch.arange(1)].images.shape[1:])
        images = torch.zeros(shape, device=machine.device).contiguous(memory_format=machine.layout)
        with memory.kept():
            form = decide(machine, self.experiment, self.running, images, self.folder, self.watcher.say)
        return in_form(form, self.running, images[:2])

    def _epoch(self) -> None:
        state, train, seed = self.state, self.experiment.train, self.experiment.seed
        order = torch.randperm(len(self.images), generator=generator("cpu", "order", seed, state.epoch))
        order = order.to(self.machine.device)
        loss = torch.tensor(state.loss, device=self.machine.device)
        correct = torch.tensor(state.correct, device=self.machine.device)
        for step, batch in enumerate(self._batches(order), state.step):
            step_loss, step_correct = self.step(batch, step)
            loss += step_loss
            correct += step_correct
            state.step = step + 1
            self.watcher.step(state.epoch, state.step, self.steps, loss / state.step)
            if time.monotonic() - self.saved_at >= self.save_every and state.step < self.steps:
                state.loss, state.correct = loss.item(), int(correct.item())
                self._save()
        self._finish_epoch(loss.item() / self.steps, 100 * correct.item() / (self.steps * train.batch))

    def _batches(self, order: Tensor) -> Iterator[Split]:
        """The images of each step that is left of the epoch."""
        steps = range(self.state.step, self.steps)
        own = self._own(order, steps)
        return (self._with_extra(batch, step) for step, batch in zip(steps, own, strict=True))

    def batch(self, order: Tensor, step: int) -> Split:
        """The images of a step: a part of ``order``, then the extra ones, if any."""
        return self._with_extra(next(self._own(order, [step])), step)

    def _own(self, order: Tensor, steps: Sequence[int]) -> Iterator[Split]:
        """The images of each step that are not extra ones, cropped at random if that is asked for."""
        rows = [self._rows(order, step) for step in steps]
        area = self.experiment.data.crop_area
        if area is None:
            return self.images.stream(rows)
        return self.images.cropped(
            (part, self._crops("crop", area, len(part), step)) for part, step in zip(rows, steps, strict=True)
        )

    def _crops(self, purpose: str, area: tuple[float, float], count: int, step: int) -> Crops:
        return draw(count, area, generator("cpu", purpose, self.experiment.seed, self.state.epoch, step))

    def _rows(self, order: Tensor, step: int) -> Tensor:
        count = self.experiment.train.batch - self.from_extra
        return order[step * count : (step + 1) * count]

    def _with_extra(self, batch: Split, step: int) -> Split:
        if self.extra is None:
            return batch
        draws = generator(self.machine.device, "extra", self.experiment.seed, self.state.epoch, step)
        rows = torch.randint(len(self.extra), (self.from_extra,), device=self.machine.device, generator=draws)
        area = self.experiment.data.crop_area
        if area is None:
            return batch.joined(self.extra[rows])
        crops = self._crops("crop extra", area, len(rows), step)
        return batch.joined(next(self.extra.cropped([(rows, crops)])))

    def step(self, batch: Split, step: int) -> tuple[Tensor, Tensor]:
        """One step on a whole batch; the loss and the number of correct answers, over all processes."""
        machine, experiment, train = self.machine, self.experiment, self.experiment.train
        when = (experiment.seed, self.state.epoch, step)
        draws = generator(machine.device, "batch", *when)
        padding = experiment.data.crop_padding if experiment.data.crop_area is None else 0
        varied = augment(batch.images, padding, experiment.data.flip, draws)
        if experiment.data.rotate:
            varied = rotate(varied, experiment.data.rotate, draws)
        images = machine.floats(varied)
        starts = [self.method.start(images, experiment.threat, draws)] if train.attack.random_start else []
        images, labels, *starts = (machine.share(tensor) for tensor in (images, batch.labels, *starts))

        # Dropout and drop path draw from the global generator.
        torch.manual_seed(derived_seed("network", *when, machine.accelerator.process_index))
        self.network.train()
        adversarial = self.attack(images, labels, *starts)

        def loss_of(network: nn.Module) -> tuple[Tensor, Tensor]:
            return self.method.loss(network, images, adversarial, labels, train.beta)

        with self._worst_weights(loss_of):
            loss, logits = loss_of(self.network)
            self.optimizer.zero_grad()
            machine.accelerator.backward(loss)
        if train.grad_clip is not None:
            machine.accelerator.clip_grad_norm_(self.network.parameters(), train.grad_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(train, self.state.epoch + step / self.steps)
            group["momentum"] = momentum(train, self.state.epoch + step / self.steps)
        self.optimizer.step()
        if self.mean is not None:
            average(self.mean, self.model, train.average, self.state.epoch * self.steps + step)
        correct = (logits.argmax(1) == labels).sum()
        return machine.total(loss.detach() / machine.accelerator.num_processes), machine.total(correct)

    def _attack(self, images: Tensor, labels: Tensor, start: Tensor | None = None) -> Tensor:
        """Adversarial images for the network as it is."""
        threat, train = self.experiment.threat, self.experiment.train
        with fixed(self.attacked):
            climbed = self.method.climbs(self.attacked, images)
            training = train.attack_mode == "train"
            return perturb(self.attacked, images, labels, threat, train.attack, start, climbed, training)

    @contextmanager
    def _worst_weights(self, loss_of: LossOf) -> Iterator[None]:
        """The weights perturbed for the gradient of a step, if the experiment says so."""
        awp = self.experiment.train.awp
        if not awp.size or self.state.epoch < awp.warmup:
            yield
            return
        directions = worst_direction(self.model, lambda: loss_of(self.running)[0], self.machine.total)
        with perturbed(self.model, directions, awp.size):
            yield

    def _finish_epoch(self, loss: float, train_accuracy: float) -> None:
        state, train = self.state, self.experiment.train
        if not math.isfinite(loss):
            raise TrainError(
                f"the loss became {loss} in epoch {state.epoch + 1}; try a lower --train.lr and another --out"
            )
        self.machine.agree_on_buffers(self.measured)
        running = self.running if self.mean is None else self.running_mean
        measure = partial(accuracy, self.machine, running, self.selection, self.experiment)
        row = {
            "epoch": state.epoch + 1,
            "lr": self.optimizer.param_groups[0]["lr"],
            "loss": loss,
            "train_robust": train_accuracy,
            "clean": measure(),
            SELECTION: measure(ATTACKS[SELECTION]),
            "seconds": self._seconds(),
        }
        state.history.append(row)
        after = min(float(self.experiment.evaluate.select_after) * train.epochs, train.epochs - 1)
        if state.epoch >= after and (state.best is None or row[SELECTION] > state.best[SELECTION]):
            state.best = row
        state.epoch, state.step, state.loss, state.correct = state.epoch + 1, 0, 0.0, 0
        self._save()
        self._save_best()
        trackers.log(self.machine.accelerator, self.folder, row)
        self.watcher.epoch(row, self.steps)

    @property
    def measured(self) -> nn.Module:
        """The network that is measured, selected and saved."""
        return self.model if self.mean is None else self.mean

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.resumed_at

    def _save(self) -> None:
        self.saved_at = time.monotonic()
        self.state.seconds = self._seconds()
        if self.machine.main:
            checkpoint = {
                "model": self.measured.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "state": asdict(self.state),
            }
            if self.mean is not None:
                checkpoint["trained"] = self.model.state_dict()
            files.save_checkpoint(self.folder / "last.pt", checkpoint)

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
            self.measured.load_state_dict(checkpoint["model"])
            if self.mean is not None:
                self.model.load_state_dict(checkpoint["trained"])
            self.optimizer.load_state_dict(checkpoint["optimizer"])
            self.state = State(**checkpoint["state"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path} is not of this network: {files.reason(error)}") from error
        if self.state.step == 0:  # a kill may have come between the two files
            self._save_best()
