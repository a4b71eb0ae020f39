"""How measures compute: compiled or not, in which precision, and that figures computed in two ways do not mix."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from helpers import small_digits
from helpers.small_training import small_machine
from torch import nn

from reconfig.harness.attacks.autoattack import AutoAttackError
from reconfig.harness.attacks.gradient import ATTACKS
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import AttackForm, Compute, Evaluate, Setting, Threat
from reconfig.harness.machine import compiling
from reconfig.harness.machine.folding import Folded
from reconfig.harness.machine.machine import Machine
from reconfig.harness.measuring import measures, predictions
from reconfig.harness.measuring.scores import read_verdicts, scores

CPU, LOW = Compute("cpu"), Compute("cpu", precision="bf16")


@pytest.fixture(autouse=True)
def _traced_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(compiling, "backend", lambda graph, inputs: graph.forward)
    limit = torch._dynamo.config.recompile_limit
    torch.compiler.reset()
    yield
    torch._dynamo.config.recompile_limit = limit
    torch.compiler.reset()


def watched() -> tuple[nn.Module, list[torch.dtype]]:
    """A network left in training mode, as a training leaves it, and the types that its last layer answers in."""
    model, seen = copy.deepcopy(small_digits.network()).train(), []
    model[-1].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    return model, seen


# ---------------------------------------------------------------- compiled


def test_compiling_changes_neither_the_lipschitz_constant_nor_the_network(tmp_path: Path) -> None:
    found, files = [], []
    for compute in (CPU, Compute("cpu", compile=True)):
        out = tmp_path / str(compute.compile)
        machine, model = small_machine(out, compute), copy.deepcopy(small_digits.network()).train()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        asked = small_digits.measured("lipschitz", "pgd20")
        found.append(scores(machine, machine.set_up(model), small_digits.unseen(60), asked, out))
        files.append(json.loads((out / "lipschitz.json").read_text()))
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
        assert model.training
    assert files[0] == files[1]
    assert len(files[1]["blocks"]) == len(files[1]["theorem2_log"]["stages"]) == 2
    assert found[0]["lipschitz"] == found[1]["lipschitz"]
    assert found[0]["pgd20"] == pytest.approx(found[1]["pgd20"], abs=2)


# ---------------------------------------------------------------- precision


def test_gradient_attacks_compute_as_asked_autoattack_and_lipschitz_in_float32(tmp_path: Path) -> None:
    machine, (model, seen) = small_machine(tmp_path, LOW), watched()
    for measure, wanted in (
        ("pgd20", {torch.bfloat16}),
        ("preview", {torch.float32, torch.bfloat16}),  # the clean accuracy is measured beside it
        ("lipschitz", {torch.float32, torch.bfloat16}),
    ):
        seen.clear()
        scores(machine, model, small_digits.unseen(20), small_digits.measured(measure), tmp_path)
        assert set(seen) == wanted
    assert read_verdicts(tmp_path).computed == {"clean": "bf16", "pgd20": "bf16", "preview": "fp32"}


@pytest.mark.parametrize("form", ["folded-channels-last", "auto"])
def test_gradient_attacks_run_in_a_form_that_is_named_and_autoattack_and_lipschitz_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: AttackForm
) -> None:
    """Of two networks under auto, one could have been given another form than the other: all run plain."""
    forwards: list[str] = []
    run = Folded.forward
    monkeypatch.setattr(Folded, "forward", lambda self, images: forwards.append("") or run(self, images))
    machine, model = small_machine(tmp_path, Compute("cpu", attack=form)), small_digits.network()
    # Beside each of them one forward measures the clean accuracy.
    for measure, folded in (("pgd20", 22), ("preview", 1), ("lipschitz", 1)):
        forwards.clear()
        scores(machine, model, small_digits.unseen(20), small_digits.measured(measure), tmp_path)
        assert len(forwards) == (0 if form == "auto" else folded)
    how = "fp32" if form == "auto" else f"fp32, {form}"
    assert read_verdicts(tmp_path).computed == {"clean": how, "pgd20": how, "preview": "fp32"}


def test_autoattack_in_bf16_has_to_be_asked_for(tmp_path: Path) -> None:
    machine, (model, seen) = small_machine(tmp_path, CPU), watched()
    asked = small_digits.measured("preview", aa_precision="bf16")
    scores(machine, model, small_digits.unseen(20), asked, tmp_path)
    assert torch.bfloat16 in seen
    assert read_verdicts(tmp_path).computed == {"clean": "fp32", "preview": "bf16"}


def test_shards_of_another_precision_layout_or_form_are_not_gone_on_with(tmp_path: Path) -> None:
    model, images = small_digits.network(), small_digits.unseen(40)
    first, more = (
        small_digits.measured("preview", aa_shard=20, aa_images=20),
        small_digits.measured("preview", aa_shard=20),
    )
    scores(small_machine(tmp_path, CPU), model, images, first, tmp_path)
    low = replace(more, evaluate=replace(more.evaluate, aa_precision="bf16"))
    for compute, asked, other in (
        (CPU, low, "computed is fp32, not bf16"),
        (Compute("cpu", channels_last=True), more, "computed is fp32, not fp32, channels last"),
        (Compute("cpu", compile=True), more, "computed is fp32, not fp32, compiled"),
    ):
        with pytest.raises(AutoAttackError, match=rf"is of another run \({other}\); nothing was changed. Give the opt"):
            scores(small_machine(tmp_path, compute), model, images, asked, tmp_path)
    assert len(list((tmp_path / "preview").iterdir())) == 1
    scores(small_machine(tmp_path, LOW), model, images, more, tmp_path)  # in float32 all the same
    assert len(list((tmp_path / "preview").iterdir())) == 2


def test_verdicts_of_more_images_stay_if_they_were_computed_alike(tmp_path: Path) -> None:
    model, asked = small_digits.network(), small_digits.measured("fgsm")
    scores(small_machine(tmp_path, CPU), model, small_digits.unseen(40), asked, tmp_path)
    scores(small_machine(tmp_path, CPU), model, small_digits.unseen(20), asked, tmp_path)
    held = read_verdicts(tmp_path)
    assert (held.count("fgsm", "fp32"), held.count("fgsm", "bf16"), held.count("cw", "fp32")) == (40, 0, 0)
    scores(small_machine(tmp_path, LOW), model, small_digits.unseen(20), asked, tmp_path)
    held = read_verdicts(tmp_path)
    assert (held.count("fgsm", "fp32"), held.count("fgsm", "bf16")) == (0, 20)


# ---------------------------------------------------------------- as the paper's code measures


def test_the_papers_cw_leaves_images_right_that_ours_does_not(machine: Machine, tmp_path: Path) -> None:
    asked = Setting(threat=Threat("linf", Fraction(48, 255)), evaluate=Evaluate(("cw", "cw-batch"), batch=100))
    found = scores(machine, small_digits.network(), small_digits.unseen(400), asked, tmp_path)
    assert found["cw-batch"] > found["cw"] + 10


def test_the_batch_of_an_attack_that_needs_it_whole_is_not_shared_out(machine: Machine) -> None:
    class Half(Machine):
        def share(self, rows: torch.Tensor) -> torch.Tensor:
            return rows.tensor_split(2)[0]

    asked, split = small_digits.measured(), small_digits.unseen(20)
    half = Half(machine.accelerator, machine.compute)
    for name, rows in (("cw", 10), ("cw-batch", 20)):
        (batch,) = predictions.batches(half, split, asked, ATTACKS[name])
        assert len(batch.rows) == len(batch.images) == len(batch.labels) == rows
        assert batch.start is not None
        assert len(batch.start) == rows


def test_stability_of_the_papers_code_leaves_wrong_predictions_alone(machine: Machine, tmp_path: Path) -> None:
    split = small_digits.unseen(100)
    wrong = Split(split.images, (split.labels + 1) % 10)  # away from another class is not away from the prediction
    asked = small_digits.measured("stability", "stability-label")
    found = scores(machine, small_digits.network(), wrong, asked, tmp_path)
    assert found["stability-label"] > found["stability"] + 5
    assert {measures.MEASURES[name].label for name in found} == {"clean", "stability", "stability (from label)"}


def test_fgsm_as_the_papers_code_has_it_starts_at_random(machine: Machine, tmp_path: Path) -> None:
    model, split = small_digits.network(), small_digits.unseen(200)
    asked = small_digits.measured("fgsm", "fgsm-random")
    found = scores(machine, model, split, asked, tmp_path)
    again = scores(machine, model, split, replace(asked, seed=1), tmp_path)
    assert found["fgsm"] == again["fgsm"]
    assert found["fgsm-random"] != again["fgsm-random"]


def test_the_start_of_the_maximised_constant_is_that_of_the_whole_batch(machine: Machine) -> None:
    class Second(Machine):
        def share(self, rows: torch.Tensor) -> torch.Tensor:
            return rows.tensor_split(2)[1]

    asked, split = small_digits.measured(), small_digits.unseen(20)
    (whole,) = predictions.batches(machine, split, asked, ATTACKS["pgd20"], "steepest")
    (part,) = predictions.batches(
        Second(machine.accelerator, machine.compute), split, asked, ATTACKS["pgd20"], "steepest"
    )
    assert whole.start is not None
    assert part.start is not None
    assert torch.equal(part.start, whole.start[10:])
    (other,) = predictions.batches(machine, split, asked, ATTACKS["pgd20"])
    assert other.start is not None
    assert not torch.equal(other.start, whole.start)
