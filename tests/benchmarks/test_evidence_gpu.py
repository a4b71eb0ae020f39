"""What a GPU could break or change without a word, as far as a CPU can show it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.gpu import correctness, limits, subjects
from benchmarks.gpu.correctness import Correctness, Subject
from benchmarks.gpu.steps import BOUNDS, EXACT, Way, compared, one_step
from benchmarks.train_speed import start
from reconfig.harness.attacks.balls import random_start
from reconfig.harness.attacks.gradient import perturb
from reconfig.harness.data.dataset import load_dataset
from reconfig.harness.experiment import Attack, Compute, Data, Threat
from reconfig.harness.machine.cuda_graph import CudaGraph
from reconfig.harness.randomness import generator
from reconfig.harness.training.methods import METHODS, near

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("subject")
    wanted = Correctness(out=folder, data="digits", images=8, attacked=4, steps=2, gamma=0.05, compile=False)
    dataset = load_dataset(Data("digits", train_limit=320, test_limit=20))
    torch.manual_seed(0)
    trained = subjects.train(
        start(Compute("cpu"), folder), dataset, subjects.network(dataset, wanted.gamma), 2, folder / "model"
    )
    model = subjects.network(dataset, wanted.gamma)
    model.load_state_dict(trained.state_dict())
    return Subject(wanted, dataset, model)


def checks(kind: Any, subject: Subject, folder: Path) -> dict[str, dict[str, Any]]:
    return {name: check() for name, check in kind(subject, folder)}


# ---------------------------------------------------------------- the checks hold, and see what is wrong


def test_steps_in_every_way_are_those_of_float64(subject: Subject, tmp_path: Path) -> None:
    found = checks(correctness.steps, subject, tmp_path)
    assert len(found) == 8
    for name, figures in found.items():
        assert figures["holds"], (name, figures)
    assert found["sat cpu fp32"]["image_gradient"] < 1e-5
    assert found["sat device bf16"]["signs"] > 0  # it did compute in bf16


def tf32(tensor: Tensor) -> Tensor:
    """Rounded to the 10 bits that TF32 keeps of a float32."""
    bits = tensor.float().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def test_tf32_would_be_seen(subject: Subject) -> None:
    """A GPU that rounds the factors of float32 products to TF32 breaks the bound on the image's gradient."""
    batch = subject.dataset.train[:8]
    images, _ = subjects.floats(batch)
    offsets = random_start(images, Threat(), generator("cpu", "tf32"))
    truth = one_step(subject.model, EXACT, "sat", batch, offsets)
    rounded = subjects.network(subject.dataset, subject.wanted.gamma)
    rounded.load_state_dict(subject.model.state_dict())
    with torch.no_grad():
        for parameter in rounded.parameters():
            parameter.copy_(tf32(parameter))
    found = one_step(rounded, Way(CPU), "sat", batch, offsets, truth.adversarial)
    off = (found.image_gradient - truth.image_gradient).norm() / truth.image_gradient.norm()
    assert off > 2 * BOUNDS["sat", False]["image_gradient"]


@pytest.mark.slow
def test_options_and_resumptions_hold(subject: Subject, tmp_path: Path) -> None:
    for kind in (correctness.options, correctness.resumptions):
        for name, figures in checks(kind, subject, tmp_path).items():
            assert figures["holds"], (name, figures)


def test_a_check_that_breaks_does_not_take_the_others_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subject: Subject
) -> None:
    def broken(subject: Subject, folder: Path) -> Any:
        yield "broken", lambda: 1 / 0

    def sound(subject: Subject, folder: Path) -> Any:
        yield "sound", lambda: {"holds": True, "signs": 0.25, "bounds": {"signs": 0.5}}

    monkeypatch.setattr(correctness, "CHECKS", (broken, sound))
    wanted = replace(subject.wanted, out=tmp_path / "out")
    correctness.main(wanted)
    table = (wanted.out / "correctness.md").read_text()
    assert "| broken | **no** | error division by zero |" in table
    assert "| sound | yes | signs 0.25 (0.5) |" in table
    monkeypatch.setattr(correctness, "CHECKS", (sound,))
    (wanted.out / "sound.json").write_text('{"holds": false}')
    assert correctness.run(wanted) == [("sound", {"holds": False})]  # what is there is not made again


# ---------------------------------------------------------------- autocast


def test_attack_and_loss_compute_in_bf16_alike(subject: Subject, tmp_path: Path) -> None:
    """The loss runs through the network that accelerate prepared and the attack through the bare one."""
    (figures,) = checks(correctness.precisions, subject, tmp_path).values()
    assert figures == {"holds": True, "attack": ["torch.bfloat16"], "loss": ["torch.bfloat16"]}


def test_a_network_prepared_before_is_not_lowered(subject: Subject, tmp_path: Path) -> None:
    """accelerate marks what it prepares and leaves it, and its copies, as they are: why each job builds its network.

    If this fails, accelerate has changed, and the networks of ``correctness`` need not be built anew.
    """
    model = nn.Conv2d(3, 2, 1)
    start(Compute("cpu"), tmp_path).accelerator.prepare(model)
    start(Compute("cpu", precision="bf16"), tmp_path).accelerator.prepare(model)
    assert not hasattr(model, "_original_forward")


def test_trades_begins_where_bf16_sees_no_gradient(subject: Subject) -> None:
    """Its first step climbs the divergence of two answers that differ by less than bf16 can tell."""
    batch = subject.dataset.train[:8]
    images, _ = subjects.floats(batch)
    wrong = {}
    for method, draw in (("sat", random_start), ("trades", near)):
        offsets = draw(images, Threat(), generator("cpu", "signs"))
        wrong[method] = compared(subject.model, Way(CPU, bf16=True), method, batch, offsets)["signs"]
    assert wrong["sat"] < 0.2 < wrong["trades"]


# ---------------------------------------------------------------- graphs, draws, what is timed


@pytest.mark.parametrize("method", METHODS)
def test_what_a_graph_captures_draws_nothing_and_leaves_no_mark(method: str, subject: Subject) -> None:
    """A captured attack must not draw: a replay would draw the same again. Flags and modes come back within it."""
    model = subjects.network(subject.dataset, subject.wanted.gamma).train()
    images, labels = (tensor[:4] for tensor in subjects.floats(subject.dataset.train[:4]))
    states = [torch.get_rng_state(), [parameter.requires_grad for parameter in model.parameters()]]
    climbed = METHODS[method].climbs(model, images.float())
    perturb(model, images.float(), labels, Threat(), Attack(steps=2), torch.zeros(()), climbed)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert [parameter.requires_grad for parameter in model.parameters()] == states[1]
    assert model.training


def test_limits_are_measured_and_the_full_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = limits.at_batch

    def until_full(wanted: limits.Limits, batch: int, operations: float, rate: float) -> dict[str, Any]:
        if batch > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(wanted, batch, operations, rate)

    monkeypatch.setattr(limits, "at_batch", until_full)
    small = {"first": 2, "largest": 16, "attack_steps": 1, "rounds": 1, "matrix": 256, "kernels": 3}
    limits.main(limits.Limits(out=tmp_path, compute=Compute("cpu"), **small))
    text = (tmp_path / "limits.md").read_text()
    assert "The memory is full at a batch of 8." in text
    assert text.count("aten::") == 3
    operations = 2 * limits.multiply_adds("zoo:vgg11") * (2 * 1 + 3) / 1e9
    assert f"a step needs {operations:.2f} GFLOP for an image" in text


@pytest.mark.gpu
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_graph_replays_what_it_captured(method: str, precision: str, subject: Subject, tmp_path: Path) -> None:
    computer = start(Compute(precision=precision), tmp_path)  # type: ignore[arg-type]
    model = computer.accelerator.prepare_model(subjects.network(subject.dataset, 0.25))
    images, labels = (tensor.to(computer.device) for tensor in subjects.floats(subject.dataset.train[:32]))
    images = images.float()

    def attack(images: Tensor, labels: Tensor, offsets: Tensor) -> Tensor:
        climbed = METHODS[method].climbs(model, images)
        return perturb(model, images, labels, Threat(), Attack(steps=2), offsets, climbed)

    captured = CudaGraph(attack)
    for seed in range(2):
        offsets = METHODS[method].start(images, Threat(), generator(computer.device, "graph", seed))
        plain, replayed = attack(images, labels, offsets), captured(images, labels, offsets)
        assert ((plain - replayed).abs() > 1e-4).float().mean() < 0.02
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.9)
