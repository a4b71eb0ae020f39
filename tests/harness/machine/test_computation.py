"""In which precision and form networks compute, and what is said of it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers.small_training import small_machine, small_network, small_split
from torch import Tensor, nn

from reconfig.harness.attacks.engine import frozen
from reconfig.harness.experiment import Compute, Setting, Train
from reconfig.harness.machine import compiling
from reconfig.harness.machine.compiling import Compiled, CompileLog
from reconfig.harness.machine.computation import Computation, Lowered, tf32
from reconfig.harness.machine.folding import Folded


@pytest.fixture(autouse=True)
def _traced_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Dynamo's part of compiling without inductor's, which takes minutes on a CPU; afterwards nothing is left of it."""
    monkeypatch.setattr(compiling, "backend", lambda graph, inputs: graph.forward)
    limit = torch._dynamo.config.recompile_limit
    torch.compiler.reset()
    yield
    torch._dynamo.config.recompile_limit = limit
    torch.compiler.reset()


def allowed() -> tuple[bool, bool]:
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def test_float32_is_float32_unless_tf32_is_asked_for(tmp_path: Path) -> None:
    before = allowed()
    try:
        for precision, wanted in (("fp32", False), ("tf32", True), ("bf16", False)):
            torch.backends.cudnn.allow_tf32 = not wanted
            small_machine(tmp_path, Compute("cpu", precision=precision))
            assert allowed() == (wanted, wanted)
        small_machine(tmp_path, Compute("cpu"))
        with tf32(True):
            assert allowed() == (True, True)
        assert allowed() == (False, False)
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def test_a_computation_is_told_in_words(tmp_path: Path) -> None:
    machine = small_machine(tmp_path, Compute("cpu", precision="bf16", channels_last=True, compile=True))
    assert str(machine.computation()) == "bf16, channels last, compiled"
    assert str(machine.computation("fp32")) == "fp32, channels last, compiled"
    assert str(small_machine(tmp_path).computation()) == "fp32"
    assert str(small_machine(tmp_path, Compute("cpu", attack="folded")).computation()) == "fp32, folded"
    assert str(small_machine(tmp_path, Compute("cpu", attack="auto")).computation()) == "fp32"


def test_a_lowered_network_computes_in_bf16_and_answers_in_float32() -> None:
    model, images = small_network().eval(), small_split(4).images.float() / 255
    seen: list[torch.dtype] = []
    model[-1].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    logits = Lowered(model)(images)
    assert (seen, logits.dtype) == ([torch.bfloat16], torch.float32)
    assert torch.allclose(logits, model(images), atol=0.05)
    assert not torch.equal(logits, model(images))


def test_machines_leave_the_network_that_they_make_compute_alone(tmp_path: Path) -> None:
    model = small_network()
    names, attributes = list(model.state_dict()), {name: vars(module).copy() for name, module in model.named_modules()}
    machine = small_machine(tmp_path, Compute("cpu", compile=True))
    images = small_split(4).images.float() / 255
    running = machine.computing(model, Computation("bf16", channels_last=False, compiled=True), images)
    running(images)
    folded = machine.computing(model, Computation("fp32", channels_last=False, compiled=False, form="tiled"), images)
    assert isinstance(folded, Folded)
    folded(images)
    assert list(model.state_dict()) == names
    assert {name: vars(module) for name, module in model.named_modules()} == attributes
    assert small_machine(tmp_path).computing(model, machine.computation(), images) is not model
    assert small_machine(tmp_path).compile(model) is model


def steps(running: nn.Module, batches: tuple[int, ...]) -> None:
    """What a run does with a network: training steps, attacks on it, answers, with batches of these sizes."""
    for batch in batches:
        images = small_split(batch).images.float() / 255
        running(images).sum().backward()
        with frozen(running):
            running(images.requires_grad_()).sum().backward()
            with torch.no_grad():
                running(images.detach())


def test_the_second_network_runs_compiled_as_the_first_does(tmp_path: Path) -> None:
    machine = small_machine(tmp_path, Compute("cpu", compile=True))
    for width in (4, 6):
        machine.begin_network()
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(36 * width, 3))
        steps(machine.compile(model), (8, 12, 7, 5, 11, 13))
        counts = machine.compiled.counts()
        # One graph for each of training, attack and answer, whatever the size of a batch.
        assert counts == {"graphs": 3, "recompilations": 2, "compiled": 18, "uncompiled": 0}


def test_the_memory_of_a_compiled_network_is_given_back_before_the_next(tmp_path: Path) -> None:
    machine = small_machine(tmp_path, Compute("cpu", compile=True))
    model = small_network()
    machine.compile(model)(small_split(4).images.float() / 255)
    held = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert held() is not None
        machine.begin_network()
        assert held() is None
    finally:
        gc.enable()


def test_what_dynamo_gave_up_on_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_LIMIT", 1)
    log = CompileLog()
    running = Compiled(small_network(), log)
    steps(running, (8, 8))
    assert (log.graphs, log.compiled, log.uncompiled) == (1, 2, 4)


def test_compiled_networks_answer_as_they_do_uncompiled(tmp_path: Path) -> None:
    model, images = small_network().eval(), small_split(9).images.float() / 255
    running = Compiled(model, CompileLog())
    with torch.no_grad():
        answers: list[Tensor] = [running(part) for part in (images, images[:4])]
        assert torch.equal(answers[0], model(images))
        assert torch.equal(answers[1], model(images[:4]))


def test_a_captured_attack_in_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"compute.capture records the attack with the network in eval mode"):
        Setting(train=Train(attack_mode="train"), compute=Compute(capture=True))
