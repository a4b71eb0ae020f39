"""Where a run computes: devices, processes and precision, by way of accelerate.

Every process holds the whole data set and draws every random number of a whole batch, then takes its own
share of the rows. So the batch and its random numbers do not depend on the number of processes.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, broadcast
from torch import Tensor, nn

from reconfig import ReconfigError
from reconfig.harness.data.augmentation import as_floats
from reconfig.harness.experiment import Compute, Precision
from reconfig.harness.machine import compiling, trackers
from reconfig.harness.machine.compiling import Compiled, CompileLog
from reconfig.harness.machine.computation import Computation, Lowered, allow_tf32
from reconfig.harness.machine.cuda_graph import CudaGraph
from reconfig.harness.machine.folding import in_form
from reconfig.harness.machine.synced_batch_norm import synchronise


class MachineError(ReconfigError):
    """Something asked for that this machine or installation does not have."""


@dataclass(frozen=True)
class Machine:
    """The devices and processes of a run."""

    accelerator: Accelerator
    compute: Compute
    compiled: CompileLog = field(default_factory=CompileLog)
    """What of the network in hand ran compiled, where that is asked for."""

    @property
    def device(self) -> torch.device:
        """This process's device."""
        return self.accelerator.device

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes files and prints."""
        return self.accelerator.is_main_process

    def set_up(self, model: nn.Module) -> nn.Module:
        """The model on this device, in the memory layout asked for; changed in place.

        With several processes, its batch norms take their statistics from all of them.
        """
        model.to(self.device)
        if self.accelerator.num_processes > 1:
            model = synchronise(model, self.device)
        if self.compute.channels_last:
            model.to(memory_format=torch.channels_last)
        return model

    def begin_network(self) -> None:
        """Forget what was compiled for another network, count anew, and give back the memory that it took.

        What was compiled keeps its network, and torch keeps the memory of every number of images that AutoAttack still
        had standing, in pieces that fit nothing else.
        """
        if self.compute.compile:
            compiling.forget()
            self.compiled.clear()
        self.accelerator.free_memory()

    def compile(self, model: nn.Module) -> nn.Module:
        """A network that runs ``model`` compiled, if that is asked for; else ``model``, which stays as it is."""
        return Compiled(model, self.compiled) if self.compute.compile else model

    def computation(self, precision: Precision | None = None) -> Computation:
        """How networks compute here, in another precision if one is given.

        A form that a training chooses by time does not count: networks that are compared could have two.
        """
        compute = self.compute
        form = "plain" if compute.attack == "auto" else compute.attack
        return Computation(precision or compute.precision, compute.channels_last, compute.compile, form)

    def computing(self, model: nn.Module, computation: Computation, example: Tensor) -> nn.Module:
        """``model``, which stays as it is, as it computes by ``computation``, but for TF32: see ``tf32``.

        ``example`` are images that it takes, as ``floats`` makes them. Its weights must not change from here on.
        """
        network = in_form(computation.form, Lowered(model) if computation.precision == "bf16" else model, example)
        return Compiled(network, self.compiled) if computation.compiled else network

    def as_graph(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """``function`` of tensors as a CUDA graph, if that is asked for."""
        return CudaGraph(function) if self.compute.capture else function

    @property
    def layout(self) -> torch.memory_format:
        """The memory layout of images that is asked for."""
        return torch.channels_last if self.compute.channels_last else torch.contiguous_format

    def floats(self, images: Tensor) -> Tensor:
        """uint8 images as floats in [0, 1], in the memory layout asked for."""
        return as_floats(images).contiguous(memory_format=self.layout)

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of the rows of a whole batch."""
        return rows.tensor_split(self.accelerator.num_processes)[self.accelerator.process_index]

    def total(self, value: Tensor) -> Tensor:
        """The sum of ``value`` over all processes."""
        return self.accelerator.reduce(value)

    def agree_on_buffers(self, model: nn.Module) -> None:
        """Give every process the main one's buffers: what is no batch norm may keep its own while training."""
        if self.accelerator.num_processes > 1:
            for buffer in model.buffers():
                buffer.copy_(broadcast(buffer))

    def hardware(self) -> dict[str, Any]:
        """What this process computes on, by name, and how many processes there are."""
        gpu = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else None
        processes = self.accelerator.num_processes
        return {"cpu": _cpu_name(), "threads": torch.get_num_threads(), "gpu": gpu, "processes": processes}


def start(compute: Compute, tracker: str | None, folder: Path) -> Machine:
    """The machine as ``compute`` asks for it, with a tracker of accelerate's that logs in ``folder``/logs.

    Raises:
        MachineError: If a CUDA graph is asked for without a GPU.
        TrackerError: If there is no such tracker.
    """
    tracker = None if tracker == "none" else tracker
    if tracker is not None:
        trackers.check(tracker)
    if compute.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(compute.deterministic, warn_only=True)
    torch.backends.cudnn.benchmark = not compute.deterministic
    allow_tf32(compute.precision == "tf32")
    accelerator = Accelerator(
        cpu=compute.device == "cpu",
        mixed_precision="bf16" if compute.precision == "bf16" else "no",
        log_with=tracker,
        project_config=ProjectConfiguration(project_dir=str(folder), logging_dir=str(folder / trackers.LOGS)),
    )
    if compute.capture and accelerator.device.type != "cuda":
        raise MachineError(
            f"compute.capture records CUDA graphs, and this run is on {accelerator.device}; leave it out"
        )
    return Machine(accelerator, compute)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
