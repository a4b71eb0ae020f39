from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from helpers import small_digits
from helpers.small_training import EXPERIMENT, small_network, small_split, small_training
from helpers.tiny_run import HELPERS
from torch import nn

from reconfig.harness import verdicts
from reconfig.harness.attacks.balls import corner_start, random_start
from reconfig.harness.attacks.gradient import ATTACKS, FGSM, PGD20, Adversary, gama, perturb
from reconfig.harness.attacks.losses import margin
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Evaluate, Measured
from reconfig.harness.machine.machine import Machine
from reconfig.harness.measuring import measures
from reconfig.harness.measuring.measures import MEASURES
from reconfig.harness.measuring.predictions import accuracy, predictions
from reconfig.harness.measuring.scores import VERDICTS, scores
from reconfig.harness.randomness import generator
from reconfig.harness.watching import Passes


def test_the_attacks_are_the_papers() -> None:
    assert (FGSM.steps, FGSM.step, ATTACKS["fgsm"].start) == (1, 1, None)
    assert (PGD20.steps, float(PGD20.step), ATTACKS["pgd20"].start) == (20, 0.1, random_start)
    assert ATTACKS["fgsm"].craft.keywords == {"attack": FGSM}
    assert ATTACKS["pgd20"].craft.keywords == {"attack": PGD20}
    assert ATTACKS["cw"].craft.keywords == {"attack": PGD20, "loss": margin}
    assert ATTACKS["gama100"] == Adversary(gama, Passes(100, 1), corner_start)


def test_the_table_offers_what_recipes_may_ask_for() -> None:
    assert ("clean", *get_args(Measured)) == tuple(MEASURES)
    assert {key for key, measure in MEASURES.items() if measure.unit != "%"} == {"lipschitz"}
    assert "not AutoAttack" in MEASURES["preview"].label


def test_accuracy_counts_every_image_once(machine: Machine) -> None:
    class Constant(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([0.0, 1.0, 0.0]).expand(len(images), 3)

    for batch in (1, 7, 10, 1000):
        experiment = replace(EXPERIMENT, evaluate=Evaluate(batch=batch))
        assert accuracy(machine, Constant(), small_split(20), experiment) == 100 * 7 / 20


def test_attacks_lower_the_accuracy_of_a_trained_network(tmp_path: Path) -> None:
    training = small_training(tmp_path)
    training.run()
    experiment = replace(EXPERIMENT, threat=replace(EXPERIMENT.threat, eps=EXPERIMENT.threat.eps * 3))
    measured = scores(training.machine, training.model, small_split(60, seed=2), experiment, tmp_path / "best")
    assert list(measured) == ["clean", "fgsm", "pgd20"]
    assert measured["pgd20"] <= measured["fgsm"] < measured["clean"]


def test_measuring_leaves_the_network_alone_and_repeats(machine: Machine, tmp_path: Path) -> None:
    model, split = small_network(), small_split(25)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    first = scores(machine, model, split, EXPERIMENT, tmp_path)
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert scores(machine, model, split, EXPERIMENT, tmp_path) == first


# -- on a network with mixed verdicts ----------------------------------------------------------------------------------


def test_all_gradient_attacks_at_once_with_a_verdict_for_each_image(machine: Machine, tmp_path: Path) -> None:
    model, split = small_digits.network(), small_digits.unseen(100)
    measured = scores(
        machine, model, split, small_digits.measured("fgsm", "pgd20", "cw", "gama100", "stability"), tmp_path / "best"
    )
    held, _ = verdicts.read(tmp_path / "best" / VERDICTS)
    assert set(held) == {"clean", "fgsm", "pgd20", "cw", "gama100", "stability"}
    assert all(100 * held[key].float().mean().item() == pytest.approx(measured[key]) for key in held)
    clean = small_digits.test_images()
    with torch.no_grad():
        assert torch.equal(held["clean"], model(clean[0][:100]).argmax(1) == clean[1][:100])
    assert measured["gama100"] <= measured["pgd20"] <= measured["fgsm"] < measured["clean"]


def test_predictions_are_those_on_the_attacked_images(machine: Machine) -> None:
    model, split, experiment = small_digits.network(), small_digits.unseen(70), small_digits.measured()
    images, expected = split.images.float() / 255, []
    for first in (0, 40):
        part = slice(first, first + 40)
        start = random_start(images[part], experiment.threat, generator("cpu", "evaluate", experiment.seed, first))
        attacked = perturb(model, images[part], split.labels[part], experiment.threat, PGD20, start)
        expected.append(model(attacked).argmax(1))
    assert torch.equal(predictions(machine, model, split, experiment, ATTACKS["pgd20"]), torch.cat(expected))


def test_stability_asks_whether_the_prediction_changes_not_whether_it_is_right(
    machine: Machine, tmp_path: Path
) -> None:
    model, split = small_digits.network(), small_digits.unseen(100)
    wrong = Split(split.images, (split.labels + 1) % 10)
    measured = [scores(machine, model, part, small_digits.measured("stability"), tmp_path) for part in (split, wrong)]
    assert measured[0]["stability"] == measured[1]["stability"]
    assert measured[1]["clean"] < 10 < measured[1]["stability"] < 100


def test_verdicts_of_other_measures_stay_while_the_weights_do(machine: Machine, tmp_path: Path) -> None:
    split = small_digits.unseen(40)
    for attack in ("fgsm", "pgd20"):
        scores(machine, small_digits.network(), split, small_digits.measured(attack), tmp_path)
    assert set(verdicts.read(tmp_path / VERDICTS)[0]) == {"clean", "fgsm", "pgd20"}
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    scores(machine, other, split, small_digits.measured(), tmp_path)
    assert set(verdicts.read(tmp_path / VERDICTS)[0]) == {"clean"}


def test_damaged_verdicts_are_named(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / VERDICTS).write_bytes(b"not safetensors at all")
    with pytest.raises(verdicts.VerdictError, match=r"verdicts.safetensors is damaged .* Remove it"):
        scores(machine, small_digits.network(), small_digits.unseen(40), small_digits.measured(), tmp_path)
    assert (tmp_path / VERDICTS).read_bytes() == b"not safetensors at all"


def test_transfer_makes_its_images_on_the_source(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, split = small_digits.network(), small_digits.unseen(80)
    asked = []

    def loads(source: nn.Module) -> None:
        monkeypatch.setattr(measures.checkpoints, "load_network", lambda *args: asked.append(args) or source)

    transfer = small_digits.measured("pgd20", "transfer", source="runs/other/original/best.pt")
    loads(model)
    itself = scores(machine, model, split, transfer, tmp_path)
    assert itself["transfer"] == itself["pgd20"]
    assert asked == [(Path("runs/other/original/best.pt"), 10)]
    torch.manual_seed(5)
    loads(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))  # knows nothing, so its images deceive hardly anybody
    assert scores(machine, model, split, transfer, tmp_path)["transfer"] > itself["pgd20"]


def test_transfer_without_a_source_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"attacks has transfer, .* give source, its checkpoint"):
        Evaluate(attacks=("transfer",))


def test_lipschitz_leaves_a_file_with_every_block_and_the_bound(machine: Machine, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1))
    model.extend([nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)])
    measured = scores(
        machine, model, small_split(25), replace(EXPERIMENT, evaluate=Evaluate(("lipschitz",), batch=10)), tmp_path
    )
    found = json.loads((tmp_path / "lipschitz.json").read_text())
    assert measured["lipschitz"] == found["network"] > 0
    assert list(found["blocks"]) == ["0", "3"]
    assert (found["images"], found["maximised"]["images"]) == (25, 10)
    assert list(found["theorem2_log"]["layers"]) == ["0", "3", "7"]
    assert found["theorem2_log"]["network"] == pytest.approx(sum(found["theorem2_log"]["layers"].values()))
    assert set(found["theorem2_log"]["stages"]) == {"1", "2"}
    assert "lipschitz" not in verdicts.read(tmp_path / VERDICTS)[0]


# -- several processes -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_find_what_one_finds(machine: Machine, tmp_path: Path) -> None:
    measures = ("fgsm", "pgd20", "cw-batch", "gama100", "stability", "preview")
    model = small_digits.network()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    one = scores(
        machine, model, small_digits.unseen(41), small_digits.measured(*measures, aa_shard=7), tmp_path / "one"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", port]
    done = subprocess.run(
        [sys.executable, *launcher, str(HELPERS / "shared_measures.py"), str(tmp_path), *measures],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    alone, shared = (verdicts.read(tmp_path / name / VERDICTS)[0] for name in ("one", "best"))
    assert alone.keys() == shared.keys() == one.keys()
    assert all(torch.equal(alone[key], shared[key]) for key in alone)
    assert len(list((tmp_path / "best" / "preview").iterdir())) == 6
    assert 20 < one["preview"] <= one["pgd20"] < one["clean"]
