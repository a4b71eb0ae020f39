from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_training import EXPERIMENT, small_machine, small_network, small_split, small_training
from rich.console import Console
from torch import Tensor

from reconfig.harness import files
from reconfig.harness.attacks.gradient import perturb
from reconfig.harness.data.division import Division
from reconfig.harness.experiment import Compute
from reconfig.harness.jobs.job import Job, _train
from reconfig.harness.machine import machine
from reconfig.harness.machine.cuda_graph import CudaGraph
from reconfig.harness.machine.machine import MachineError
from reconfig.harness.network import Network
from reconfig.harness.training.state import State
from reconfig.harness.training.training import Training

CPU = Compute(device="cpu")
QUIET = Console(quiet=True)


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    """Puts back what ``start`` sets for the whole process."""
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    benchmark, variable = torch.backends.cudnn.benchmark, os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = benchmark
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = tf32
    if variable is None:
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


# ---------------------------------------------------------------- trackers


def test_tensorboard_gets_every_epoch(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    computer, folder = small_machine(tmp_path, tracker="tensorboard"), tmp_path / "original"
    folder.mkdir()
    computer.accelerator.init_trackers("vgg11")

    class Silent:
        def say(self, *_: object) -> None:
            pass

        def step(self, *_: object) -> None:
            pass

        def epoch(self, *_: object) -> None:
            pass

    Training(
        computer, EXPERIMENT, small_network(), small_split(24), small_split(20, seed=1), folder, 1000, Silent()
    ).run()
    computer.accelerator.end_training()
    events = EventAccumulator(str(tmp_path / "logs" / "vgg11"))
    events.Reload()
    for row in files.load_checkpoint(folder / "last.pt")["state"]["history"]:
        for name in ("loss", "clean", "pgd20", "lr"):
            logged = {event.step: event.value for event in events.Scalars(f"original/{name}")}
            assert logged[row["epoch"]] == pytest.approx(row[name], rel=1e-6)


# ---------------------------------------------------------------- determinism


def test_determinism_is_a_flag(tmp_path: Path) -> None:
    small_machine(tmp_path, Compute("cpu", deterministic=True))
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    small_machine(tmp_path, CPU)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark


# ---------------------------------------------------------------- captured attacks


def test_captured_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"compute\.capture records CUDA graphs, and this run is on cpu; leave it"):
        small_machine(tmp_path, Compute("cpu", capture=True))


class Graph:
    """What the tests take for a CUDA graph: it computes again, into the same memory."""

    captured = replayed = 0
    memory = "the private pool of the first"

    def pool(self) -> str:
        return self.memory

    def replay(self) -> None:
        Graph.replayed += 1
        self.again()


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> type[Graph]:
    class Stream:
        def wait_stream(self, other: object) -> None:
            pass

    @contextmanager
    def context(graph: object, **options: object) -> Iterator[None]:
        if isinstance(graph, Graph):
            # NCCL's watchdog, another thread, would end a capture that is not of this thread alone.
            pool = Graph.memory if Graph.captured else None
            assert options == {"pool": pool, "capture_error_mode": "thread_local"}
            Graph.captured += 1
        yield

    Graph.captured = Graph.replayed = 0
    for name, value in {"Stream": Stream, "current_stream": Stream, "stream": context, "graph": context}.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    capture = CudaGraph._capture

    def remembering(self: CudaGraph, *inputs: Tensor) -> Any:
        captured = capture(self, *inputs)
        graph = captured.graph
        graph.again = lambda: captured.output.copy_(self.function(*captured.inputs))
        return captured

    monkeypatch.setattr(CudaGraph, "_capture", remembering)
    return Graph


def test_a_captured_attack_sees_new_images_and_new_weights(graphs: type[Graph]) -> None:
    model, split = small_network(), small_split(6)

    def attack(images: Tensor, labels: Tensor) -> Tensor:
        return perturb(model, images, labels, EXPERIMENT.threat, EXPERIMENT.train.attack)

    captured, found = CudaGraph(attack), []
    for scale in (1.0, -2.0):
        images = (split.images.float() / 255).flip(0 if scale < 0 else 1)
        with torch.no_grad():
            model[0].weight.mul_(scale)
        found.append(captured(images, split.labels))
        assert torch.equal(found[-1], attack(images, split.labels))
    assert not torch.equal(*found)  # each has memory of its own
    assert (graphs.captured, graphs.replayed) == (1, 2)
    captured(split.images[:3].float() / 255, split.labels[:3])
    assert (graphs.captured, graphs.replayed) == (2, 3)


def test_training_replays_its_attack(graphs: type[Graph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, replayed = tmp_path / "plain", tmp_path / "replayed"
    plain.mkdir()
    replayed.mkdir()
    small_training(plain).run()
    monkeypatch.setattr(machine.Machine, "as_graph", lambda self, function: CudaGraph(function))
    small_training(replayed).run()
    assert graphs.captured == 1
    assert graphs.replayed == 12
    first, second = (files.load_checkpoint(folder / "last.pt")["model"] for folder in (plain, replayed))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_memory_of_a_training_is_given_back_before_its_network_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training and the graph of its attack, with a pool of memory, refer to one another."""
    run, held = Training.run, []

    def running(self: Training) -> State:
        held.append(weakref.ref(self))
        return run(self)

    monkeypatch.setattr(Training, "run", running)
    monkeypatch.setattr(machine.Machine, "as_graph", lambda self, function: CudaGraph(function))
    monkeypatch.setattr(CudaGraph, "__call__", lambda self, *inputs: self.function(*inputs))
    split = small_split(40)
    division = Division(split[:24], split[24:32], split[32:])
    gc.disable()
    try:
        _train(
            Job(Network("zoo:vgg11"), EXPERIMENT, tmp_path),
            small_network(),
            division,
            small_machine(tmp_path),
            QUIET,
            9,
        )
        assert [each() for each in held] == [None]
    finally:
        gc.enable()


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_cuda_graph_trains_as_its_operations_do(precision: Any, tmp_path: Path) -> None:
    losses = []
    for capture in (False, True):
        folder = tmp_path / str(capture)
        folder.mkdir()
        compute = Compute(precision=precision, capture=capture, channels_last=True)
        losses.append([row["loss"] for row in small_training(folder, compute=compute).run().history])
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


# ---------------------------------------------------------------- compiling


@pytest.mark.slow
def test_compiled_training_is_training(tmp_path: Path) -> None:
    rows = []
    for compute in (CPU, Compute("cpu", compile=True), Compute("cpu", compile=True, precision="bf16")):
        folder = tmp_path / f"{compute.compile} {compute.precision}"
        folder.mkdir()
        rows.append(small_training(folder, compute=compute).run().history)
    for plain, compiled, low in zip(*rows, strict=True):
        assert plain["loss"] == pytest.approx(compiled["loss"], rel=0.02)
        assert plain["loss"] == pytest.approx(low["loss"], rel=0.2)
