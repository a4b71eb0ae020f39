from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor

from benchmarks import attack
from reconfig import ReconfigError
from reconfig.harness import checkpoints, files, verdicts
from reconfig.harness.attacks import autoattack
from reconfig.harness.data.dataset import Dataset, load_dataset
from reconfig.harness.experiment import Compute, Data, Evaluate, Experiment
from reconfig.harness.files import CheckpointError
from reconfig.harness.jobs.network import build_network, plan_network
from reconfig.harness.jobs.outcome import Outcome
from reconfig.harness.measuring.scores import VERDICTS
from reconfig.harness.network import Network
from reconfig.harness.options import AttackOptions
from reconfig.harness.studies import attack_later, folder

EXPERIMENT = Experiment(
    original=Network("zoo:vgg11", "10-10-10", gamma=0.04),
    variant=Network("zoo:vgg11", "10-10-4", gamma=0.04),
    data=Data(path="digits", train_limit=40, test_limit=20, hold_out=8),
    evaluate=Evaluate(batch=8),
    seed=3,
)
SCORES = {"clean": 50.0, "pgd20": 40.0}


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(Data("digits", train_limit=40, test_limit=20))


@pytest.fixture
def run(tmp_path: Path, dataset: Dataset) -> Path:
    """What a finished run leaves, without the training."""
    out = tmp_path / "run"
    folder.prepare(out, folder.config(EXPERIMENT, dataset, EXPERIMENT.networks), [out / "original", out / "variant"])
    for place, network in EXPERIMENT.networks.items():
        plan = plan_network(network, dataset)
        (out / place / "plan.json").write_text(plan.to_json())
        for epoch, checkpoint in ((1, "best"), (2, "last")):
            model = build_network(network, plan, dataset.classes, seed=epoch)
            files.save_checkpoint(
                out / place / f"{checkpoint}.pt", {"model": model.state_dict(), "state": {"epoch": epoch}}
            )
        scores = {"last": dict(SCORES), "best": dict(SCORES)}
        computed = dict.fromkeys(scores, dict.fromkeys(SCORES, "fp32"))
        outcome = Outcome(network.name, 3, plan.params, plan.flops, scores, {"last": 2, "best": 1}, 1.0, computed, None)
        files.write_json(out / place / "outcome.json", asdict(outcome))
    files.write_json(out / "result.json", {"command": "python benchmarks/run.py demo --out 'a run'"})
    return out


def options(path: Path, *attacks: str, **more: object) -> AttackOptions:
    return AttackOptions(path, attacks=attacks, compute=Compute(device="cpu"), **more)


def outcome(run: Path, place: str) -> dict[str, dict[str, float]]:
    return json.loads((run / place / "outcome.json").read_text())["scores"]


@pytest.fixture
def shards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """AutoAttack that takes no time, and the sizes of the shards that it ran."""
    ran: list[int] = []

    def standing(_self: object, name: str, images: Tensor, *_: object) -> Tensor:
        if name == autoattack.STANDARD[0]:
            ran.append(len(images))
        return torch.arange(len(images)) % 2 == 0

    monkeypatch.setattr(autoattack._Official, "standing", standing)
    return ran


def test_a_run_is_attacked_in_all_its_checkpoints_and_the_outcomes_follow(run: Path) -> None:
    lines = attack_later.run(options(run, "fgsm", "stability"))
    assert len(lines) == 5
    assert lines[-1] == "To have it in the run's tables: python benchmarks/run.py demo --out 'a run' --resume"
    for place in ("original", "variant"):
        for checkpoint in ("last", "best"):
            scores = outcome(run, place)[checkpoint]
            assert list(scores) == ["clean", "pgd20", "fgsm", "stability"]
            assert scores["clean"] == 50  # not asked for
            held, _ = verdicts.read(run / place / checkpoint / VERDICTS)
            assert 100 * held["fgsm"].float().mean().item() == pytest.approx(scores["fgsm"])


def test_autoattack_is_extended_without_doing_anything_again(run: Path, shards: list[int]) -> None:
    best = run / "original" / "best.pt"
    attack_later.run(options(best, "aa", images=8, shard=4))
    assert shards == [4, 4]
    assert outcome(run, "original")["best"]["aa"] == 50
    assert "aa" not in outcome(run, "original")["last"]
    attack_later.run(options(best, "aa", shard=4))
    assert shards == [4] * 5
    held, _ = verdicts.read(run / "original" / "best" / VERDICTS)
    assert (len(held["aa"]), len(held["clean"])) == (20, 20)
    lines = attack_later.run(options(best, "aa", images=8, shard=4))
    assert shards == [4] * 5
    assert lines[0].endswith("all asked for is there already, for more images")
    assert len(verdicts.read(run / "original" / "best" / VERDICTS)[0]["aa"]) == 20


def test_another_precision_is_measured_and_recorded(run: Path) -> None:
    best = run / "original" / "best.pt"
    attack_later.run(options(best, "fgsm"))
    low = AttackOptions(best, attacks=("fgsm",), images=5, compute=Compute("cpu", precision="bf16"))
    AcceleratorState._reset_state(reset_partial_state=True)
    (line, *_) = attack_later.run(low)
    assert "(bf16)" in line
    computed = files.read_json(run / "original" / "outcome.json")["computed"]
    assert computed["best"] == {"clean": "fp32", "pgd20": "fp32", "fgsm": "bf16"}
    assert "fgsm" not in computed["last"]


def test_fewer_images_do_not_replace_what_is_known_of_more(run: Path) -> None:
    best = run / "variant" / "best.pt"
    attack_later.run(options(best, "fgsm"))
    before = outcome(run, "variant")["best"]
    attack_later.run(options(best, "fgsm", "pgd20", images=5))
    after = outcome(run, "variant")["best"]
    assert after["fgsm"] == before["fgsm"]
    held, _ = verdicts.read(run / "variant" / "best" / VERDICTS)
    assert {key: len(verdict) for key, verdict in held.items()} == {"clean": 20, "fgsm": 20, "pgd20": 5}


def test_checkpoints_of_one_epoch_are_measured_once(run: Path, shards: list[int]) -> None:
    path = run / "original" / "outcome.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"epochs": {"last": 2, "best": 2}}))
    attack_later.run(options(run / "original", "aa"))
    assert shards == [20]
    assert outcome(run, "original")["best"]["aa"] == outcome(run, "original")["last"]["aa"] == 50


def test_transfer_takes_its_images_from_the_other_network(run: Path) -> None:
    source = str(run / "variant" / "best.pt")
    attack_later.run(options(run / "original" / "last.pt", "transfer", source=source))
    assert 0 <= outcome(run, "original")["last"]["transfer"] <= 100


def test_networks_come_back_with_their_weights_and_shape(run: Path, dataset: Dataset) -> None:
    for place in ("original", "variant"):
        for checkpoint in ("best", "last"):
            path = run / place / f"{checkpoint}.pt"
            saved = files.load_checkpoint(path)["model"]
            network = checkpoints.load_network(path, dataset.classes)
            assert not network.training
            loaded = network.state_dict()
            assert all(torch.equal(loaded[name], value) for name, value in saved.items())
            assert loaded.keys() == saved.keys()


def test_settings_come_back_as_they_were(run: Path) -> None:
    setting = checkpoints.read_setting(checkpoints.read_config(run / "original" / "best.pt"))
    for name in ("data", "threat", "train", "evaluate", "compute", "seed", "seeds"):
        assert getattr(setting, name) == getattr(EXPERIMENT, name)


# -- what cannot be attacked -------------------------------------------------------------------------------------------


def test_folders_without_a_finished_run_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere holds no best.pt or last.pt; give the folder of a run"):
        attack_later.run(options(tmp_path / "nowhere", "fgsm"))
    (run / "variant" / "outcome.json").unlink()
    with pytest.raises(CheckpointError, match=r"variant is not finished .* end its run with --resume"):
        attack_later.run(options(run, "fgsm"))
    assert "fgsm" not in outcome(run, "original")["best"]


def test_outcomes_and_checkpoints_of_something_else_are_refused(run: Path, tmp_path: Path) -> None:
    (run / "original" / "outcome.json").write_text('{"name": "vgg11"}')
    with pytest.raises(CheckpointError, match=r"outcome.json is not of this version .* Remove it"):
        attack_later.run(options(run, "fgsm"))
    epoch = run / "variant" / "epoch-7.pt"
    files.copy(run / "variant" / "best.pt", epoch)
    with pytest.raises(CheckpointError, match=r"epoch-7.pt is none of its run's checkpoints; give best.pt or last.pt"):
        attack_later.run(options(epoch, "fgsm"))
    alone = tmp_path / "alone.pt"
    files.copy(run / "variant" / "best.pt", alone)
    with pytest.raises(CheckpointError, match=r"alone.pt lies in no run: there is no plan.json in the folders above"):
        checkpoints.load_network(alone, 10)


def test_several_runs_at_once_are_refused(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "second")
    with pytest.raises(CheckpointError, match=r"holds 2 runs; give one, such as .*run$"):
        attack_later.run(options(tmp_path, "fgsm"))


def test_a_source_of_another_network_or_number_of_classes_is_refused(run: Path) -> None:
    with pytest.raises(CheckpointError, match=r"best.pt is not of the network in .*variant with 7 classes"):
        checkpoints.load_network(run / "variant" / "best.pt", 7)
    files.copy(run / "variant" / "best.pt", run / "original" / "best.pt")
    with pytest.raises(CheckpointError, match=r"best.pt is not of the network in .*original with 10 classes"):
        checkpoints.load_network(run / "original" / "best.pt", 10)


def test_other_images_are_refused(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"images": "0123456789abcdef"}))
    with pytest.raises(ReconfigError, match=r"digits .* holds other images than .* was trained on; give theirs with"):
        attack_later.run(options(run, "fgsm"))


def test_a_run_on_extra_images_is_attacked_as_well(run: Path, tmp_path: Path) -> None:
    extra = tmp_path / "more.npz"
    np.savez(extra, image=np.zeros((4, 32, 32, 3), np.uint8), label=np.arange(4))
    data = replace(EXPERIMENT.data, extra=str(extra))
    config = folder.config(replace(EXPERIMENT, data=data), load_dataset(data), EXPERIMENT.networks)
    files.write_json(run / "config.json", config)
    extra.unlink()  # they were trained on alone
    assert attack_later.run(options(run / "original" / "best.pt", "fgsm"))[0].startswith(f"{run}/original/best: fgsm")


def test_a_config_of_another_version_is_refused() -> None:
    config = folder.config(EXPERIMENT, load_dataset(EXPERIMENT.data), EXPERIMENT.networks)
    assert checkpoints.read_setting(config).threat == EXPERIMENT.threat
    for change, message in [
        ({"threat": {"norm": "linf"}}, r"threat\.eps is None"),
        ({"threat": config["threat"] | {"radius": "8/255"}}, r"threat\.radius is 8/255"),
        ({"seed": "3"}, "seed is 3"),
        ({"seeds": None}, "int"),
        ({"train": None}, "train|NoneType"),
    ]:
        with pytest.raises(CheckpointError, match=f"config.json is not of this version: .*{message}"):
            checkpoints.read_setting(config | change)
    del config["threat"]
    with pytest.raises(CheckpointError, match=r"config\.json is not of this version: 'threat'"):
        checkpoints.read_setting(config)


def test_the_command_prints_what_it_found_or_what_was_wrong(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--attacks", "fgsm", "--images", "6", "--compute.device", "cpu"]
    monkeypatch.setattr("sys.argv", ["attack.py", str(run / "original"), *flags])
    assert attack.main() == 0
    assert "original/best: fgsm" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["attack.py", str(run / "missing"), *flags])
    assert attack.main() == 1
    assert "error: " in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["attack.py", str(run), "--attacks", "transfer"])
    with pytest.raises(SystemExit):
        attack.main()
    assert "attacks has transfer, which needs" in capsys.readouterr().err
