"""Networks of a run exported for others: RobustBench's own class loads them, its card has the run's figures."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import reconfig
from benchmarks import export as command_line
from reconfig import ExportError, zoo
from reconfig.harness import files, verdicts
from reconfig.harness.building import build
from reconfig.harness.experiment import Data, Experiment, Threat
from reconfig.harness.jobs.outcome import Outcome
from reconfig.harness.measuring.scores import VERDICTS
from reconfig.harness.network import Network
from reconfig.harness.normalised import KNOWN, Moments, behind
from reconfig.harness.options import ExportOptions
from reconfig.harness.studies import export, leaderboard


def architecture() -> ModuleType:
    """RobustBench's module of the class; the package itself imports much that is not needed here."""
    spec = importlib.util.find_spec("robustbench")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("robustbench is not installed")
    folder = Path(spec.submodule_search_locations[0]) / "model_zoo" / "architectures"
    found = importlib.util.spec_from_file_location(
        "rb_architectures", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert found is not None
    sys.modules["rb_architectures"] = importlib.util.module_from_spec(found)
    return importlib.import_module("rb_architectures.robust_wide_resnet")


def theirs(shape: leaderboard.Shape) -> nn.Module:
    return eval(f"RobustWideResNet({shape.arguments})", vars(architecture()))


def shaken(model: nn.Module) -> nn.Module:
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, 0, 0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
    return model.eval()


def test_robustbench_loads_wrn34_r() -> None:
    with torch.device("meta"):  # drawing so many weights three times over would take most of the time
        plan = reconfig.plan(zoo.wrn(34, 10), "10-10-4", gamma=2)
        robust = zoo.WideResNet([5, 5, 5], [320, 640, 512])
    assert {name: tuple(tensor.shape) for name, tensor in robust.state_dict().items()} == plan.after
    robust.to_empty(device="cpu")
    for parameter in robust.parameters():
        nn.init.uniform_(parameter, -0.05, 0.05)
    shaken(robust)
    shape = leaderboard.shape(robust)
    assert shape == leaderboard.Shape(16, (320, 640, 512), (5, 5, 5), 10)  # RobustBench's Huang2021Exploring
    with torch.device("meta"):
        other = theirs(shape).eval()
    other.load_state_dict(robust.state_dict(), strict=True, assign=True)
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        expected = robust(image)
        assert 0.01 < expected.std() < 1e4
        torch.testing.assert_close(other(image), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rule", ["d1-2-3 w10-10-4", "d2-1-1 w10-7-3"])
def test_robustbench_loads_other_shapes(rule: str) -> None:
    robust = shaken(reconfig.apply(zoo.wrn(16, 1, num_classes=7), rule)).double()
    other = theirs(leaderboard.shape(robust)).double().eval()
    other.load_state_dict(robust.state_dict(), strict=True)
    image = torch.rand(2, 3, 32, 32).double()
    torch.testing.assert_close(other(image), robust(image), rtol=1e-9, atol=1e-9)


def test_stages_beyond_three_have_their_strides() -> None:
    model = shaken(zoo.WideResNet([1, 1, 1, 1], [8, 16, 12, 24])).double()
    other = theirs(leaderboard.shape(model)).double().eval()
    other.load_state_dict(model.state_dict(), strict=True)
    image = torch.rand(2, 3, 32, 32).double()
    torch.testing.assert_close(other(image), model(image), rtol=1e-9, atol=1e-9)


def uneven() -> nn.Module:
    model = zoo.wrn(10, 1)
    model.blocks[1].layer[0].conv1 = nn.Conv2d(16, 20, 3, 2, 1, bias=False)
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            zoo.vgg11,
            r"needs a wide residual network of reconfig\.zoo .*, not VGG; .*--to safetensors takes any network",
        ),
        (lambda: zoo.WideResNet([1, 1], [8, 8]), "two are 8 wide one after the other"),
        (
            lambda: zoo.wrn(10, 1, stem_stride=2),
            r"whose stem keeps the resolution, .* a stride of 2: leave stem_stride",
        ),
        (
            uneven,
            r"one width a stage: blocks\.1\.layer\.0\.conv1\.weight is \(20, 16, 3, 3\), and there \(32, 16, 3, 3\)",
        ),
    ],
    ids=["vgg", "equal widths", "stem", "uneven"],
)
def test_what_robustbench_cannot_load_is_named(model: Any, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        leaderboard.shape(model())


# ---------------------------------------------------------------- a finished run

SCORES = {"clean": 84.5, "fgsm": 60.0, "aa": 52.04}


def finished(
    run: Path,
    images: str = "cifar10 (Hugging Face parquet)",
    seeds: int = 1,
    attacked: int = 1000,
    model: str = "zoo:wrn34_10",
    moments: Moments | None = None,
    **fields: Any,
) -> dict[str, nn.Module]:
    """A folder as a run leaves it, with small networks; those of each folder."""
    networks = Network(model), Network(model, "10-10-4", gamma=0.75)
    experiment = Experiment(original=networks[0], variant=networks[1], **fields)
    run.mkdir()
    config = {k: v for k, v in dataclasses.asdict(experiment).items() if k != "paper"}
    files.write_json(run / "config.json", config | {"normalisation": moments and moments._asdict()})
    files.write_json(run / "result.json", {"data": {"name": images, "classes": 10, "test": 10_000}})
    made = {}
    for seed in range(seeds):
        folder = run / "variant" if seeds == 1 else run / f"seed-{seed}" / "variant"
        folder.mkdir(parents=True)
        original = behind(build(model, 10), moments)
        plan = reconfig.plan(original, "10-10-4", gamma=0.75)
        made[str(folder)] = robust = shaken(plan.apply(original))
        files.write_text(folder / "plan.json", plan.to_json())
        files.save_checkpoint(folder / "best.pt", {"model": robust.state_dict(), "state": {"epoch": 3}})
        scores = {"best": dict(SCORES), "last": SCORES | {"clean": 85.0}}
        outcome = Outcome("wrn", seed, 1, 1, scores, {"best": 3, "last": 4}, 1.0, {}, None)
        files.write_json(folder / "outcome.json", dataclasses.asdict(outcome))
        (folder / "best").mkdir()
        verdicts.write(folder / "best" / VERDICTS, {"aa": torch.ones(attacked, dtype=torch.bool)}, {})
    return made


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "vgg11", lambda num_classes=10: zoo.VGG([(8,), (8,), (12,), (12,), (16,)], num_classes))
    monkeypatch.setattr(zoo, "wrn34_10", lambda num_classes=10: zoo.wrn(10, 2, num_classes))


def options(run: Path, **fields: Any) -> ExportOptions:
    return ExportOptions(run=run, out=run.parent / "out", **fields)


def test_a_card_has_the_figures_of_the_run(tmp_path: Path) -> None:
    (made,) = finished(tmp_path / "wrn34").values()
    lines = export.run(options(tmp_path / "wrn34", to="robustbench", name="Doe2026Narrow", authors="Jane Doe"))
    out = tmp_path / "out"
    assert lines == [
        f"Wrote {out / 'models/cifar10/Linf/Doe2026Narrow.pt'}",
        f"Wrote {out / 'model_info/cifar10/Linf/Doe2026Narrow.json'}",
        f"Wrote {out / 'model_zoo_entry.py'}",
    ]
    card = json.loads((out / "model_info/cifar10/Linf/Doe2026Narrow.json").read_text())
    assert card == {
        "link": "https://arxiv.org/abs/2110.03825",
        "name": "Exploring Architectural Ingredients of Adversarially Robust Deep Neural Networks",
        "authors": "Jane Doe",
        "additional_data": False,
        "number_forward_passes": 1,
        "dataset": "cifar10",
        "venue": "",
        "architecture": "WideResNet, 1-1-1 blocks of 24-48-38 channels",
        "eps": "8/255",
        "clean_acc": "84.50",
        "reported": "52.04",
        "autoattack_acc": "52.04",
        "footnote": "AutoAttack on the first 1,000 test images, clean accuracy on 10,000.",
        "unreliable": False,
    }
    state = torch.load(out / "models/cifar10/Linf/Doe2026Narrow.pt", weights_only=True)
    assert all(torch.equal(tensor, made.state_dict()[name]) for name, tensor in state.items())
    code = (out / "model_zoo_entry.py").read_text()
    assert "robustbench/model_zoo/cifar10.py, in the list of ThreatModel.Linf" in code
    assert '"gdrive_id": "",' in code  # with None its load_model refuses the name, whatever file there is
    ((name, entry),) = eval(f"[{code.partition('#')[2].partition(chr(10))[2]}]", vars(architecture()))
    other = entry["model"]()
    other.load_state_dict(state, strict=True)
    assert name == "Doe2026Narrow"
    image = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(other.eval()(image), made(image), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dataset", ["cifar10", "imagenet"])
def test_robustbench_loads_a_network_behind_a_normalisation(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(leaderboard.DATASETS, "imagenet", 10)
    (made,) = finished(tmp_path / "run", moments=KNOWN["imagenet"]).values()
    export.run(options(tmp_path / "run", to="robustbench", name="Doe2026", dataset=dataset))
    code = (tmp_path / "out" / "model_zoo_entry.py").read_text()
    assert "# from robustbench.model_zoo.architectures.utils_architectures import normalize_model" in code
    names = vars(architecture()) | vars(importlib.import_module("rb_architectures.utils_architectures"))
    ((_, entry),) = eval(f"[{code}]", names)
    other = entry["model"]()
    state = torch.load(tmp_path / "out/models" / dataset / "Linf/Doe2026.pt", weights_only=True)
    # As robustbench.utils.load_model does: "model." is cut off, and of ImageNet's put before every name; there the
    # normalisation may be missing, and is that of the code.
    state = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    if dataset == "imagenet":
        state = {f"model.{name}": tensor for name, tensor in state.items()}
    missing, unknown = other.load_state_dict(state, strict=False)
    assert (missing, unknown) == (["normalize.mean", "normalize.std"] if dataset == "imagenet" else [], [])
    image = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(other.eval()(image), made(image), rtol=1e-6, atol=1e-6)


def test_l2_extra_data_and_all_images_are_on_the_card(tmp_path: Path) -> None:
    fields = {"threat": Threat("l2", eps=leaderboard.Fraction(1, 2)), "data": Data(extra="more.npz")}
    finished(tmp_path / "run", "cifar-10-batches-py (torchvision CIFAR-10)", attacked=10_000, **fields)
    export.run(options(tmp_path / "run", to="robustbench", checkpoint="best", dataset="cifar10"))
    card = json.loads((tmp_path / "out/model_info/cifar10/L2/run_variant.json").read_text())
    assert (card["eps"], card["additional_data"], card["autoattack_acc"]) == ("0.5", True, "52.04")
    assert "footnote" not in card


def test_without_autoattack_the_card_says_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(SCORES, "aa")
    finished(tmp_path / "run")
    lines = export.run(options(tmp_path / "run", to="robustbench"))
    assert lines[-1].startswith(
        "The card has no autoattack_acc, which the leaderboard needs: python benchmarks/attack.py"
    )
    card = json.loads((tmp_path / "out/model_info/cifar10/Linf/run_variant.json").read_text())
    assert not {"autoattack_acc", "reported", "footnote"} & card.keys()


def test_a_safetensors_file_of_a_seed(tmp_path: Path) -> None:
    made = finished(tmp_path / "run", seeds=2, model="zoo:vgg11")
    lines = export.run(options(tmp_path / "run", seed=1))
    assert lines[1] == (
        f"Read it with reconfig.load('{tmp_path / 'out'}', lambda: reconfig.networks.build('zoo:vgg11?num_classes=10'))"
    )
    again = reconfig.load(tmp_path / "out", zoo.vgg11).eval()
    image = torch.rand(2, 3, 32, 32)
    assert torch.equal(again(image), made[str(tmp_path / "run" / "seed-1" / "variant")](image))


@pytest.mark.parametrize(
    ("damage", "fields", "message"),
    [
        (lambda run: (run / "result.json").unlink(), {}, r"holds no result\.json, so no finished run; end it with"),
        (
            lambda run: (run / "variant" / "outcome.json").unlink(),
            {"to": "robustbench"},
            r"variant is not finished \(it has no outcome\.json\)",
        ),
        (
            lambda run: (run / "variant" / "best" / VERDICTS).write_bytes(b"no"),
            {"to": "robustbench"},
            r"verdicts\.safetensors is damaged",
        ),
        (lambda run: None, {"seed": 4}, "has no network variant of seed 4"),
        (lambda run: None, {"network": "original"}, "has no network original of seed 0"),
        (lambda run: None, {"checkpoint": "last"}, r"last\.pt is damaged or no checkpoint \(.*No such file"),
        (lambda run: (run.parent / "out").write_text("kept"), {}, r"out exists; give another file"),
        (lambda run: None, {"to": "robustbench", "dataset": "cifar100"}, r"RobustBench has .*cifar100 \(100 classes\)"),
    ],
    ids=["unfinished", "not measured", "verdicts", "seed", "network", "checkpoint", "exists", "dataset"],
)
def test_what_cannot_be_exported_is_named(damage: Any, fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    finished(tmp_path / "run")
    damage(tmp_path / "run")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(reconfig.ReconfigError, match=message):
        export.run(options(tmp_path / "run", **fields))
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_digits_are_not_on_the_leaderboard(tmp_path: Path) -> None:
    finished(tmp_path / "run", "digits (scikit-learn)")
    with pytest.raises(
        ExportError, match=r"was trained on 'digits \(scikit-learn\)' \(10 classes\); if the name alone"
    ):
        export.run(options(tmp_path / "run", to="robustbench"))
    assert not (tmp_path / "out").exists()


def test_nothing_is_exported_twice(tmp_path: Path) -> None:
    finished(tmp_path / "run")
    export.run(options(tmp_path / "run", to="robustbench"))
    with pytest.raises(ExportError, match=r"run_variant\.pt exists; give another folder, or another --name"):
        export.run(options(tmp_path / "run", to="robustbench"))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    finished(tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["export.py", str(tmp_path / "run"), str(tmp_path / "out")])
    assert command_line.main() == 0
    assert capsys.readouterr().out.startswith(f"Wrote {tmp_path / 'out'}\nRead it with reconfig.load(")
    assert command_line.main() == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'out'} exists; give another file\n"
