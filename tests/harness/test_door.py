"""What ``reconfig.harness`` offers to a script."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from helpers import small_digits
from helpers.tiny_run import ROOT, environment

import reconfig.harness
from reconfig.harness import Threat, attack
from reconfig.harness.attacks.gradient import AttackError

SCRIPT = """
from reconfig.harness import *
experiment = Experiment(
    original=Network("zoo:vgg11", rule="10-10-10", gamma=0.04),
    variant=Network("zoo:vgg11", rule="10-10-4", gamma=0.04),
    data=Data("digits", train_limit=80, test_limit=20, hold_out=16), train=Train(epochs=1, batch=16),
    evaluate=Evaluate(attacks=("fgsm",)), compute=Compute(device="cpu"),
)
report = run(experiment, out="digits")
test = load_dataset(experiment.data).test
model, images = load_network(report.with_name("variant") / "best.pt", classes=10), as_floats(test.images)
moved = attack(model, images, test.labels, "pgd20", Threat(eps=1 / 16)) - images
print(report, f"{moved.abs().max():.4f}", len(moved))
"""


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment(), capture_output=True, text=True)


def test_a_script_trains_and_attacks(tmp_path: Path) -> None:
    done = python(SCRIPT, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "digits/report.html 0.0625 20"
    assert (tmp_path / "digits" / "report.html").exists()


def test_importing_it_waits_for_nothing(tmp_path: Path) -> None:
    code = "import sys, reconfig.harness, recipes; recipes.discover(); print({'torch', 'scipy'} & {*sys.modules})"
    assert python(code, ROOT).stdout == "set()\n"


@pytest.mark.parametrize("missing", ["tyro", "accelerate"])
def test_without_the_extra_it_says_what_to_install(missing: str, tmp_path: Path) -> None:
    done = python(f"import sys; sys.modules[{missing!r}] = None; import reconfig; import reconfig.harness", tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: reconfig.harness needs {missing}, which the package alone does not install:"
        " pip install 'robust-reconfig[bench]'"
    )


def test_it_looks_for_all_that_the_extra_installs() -> None:
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["bench"]
    modules = {"pillow": "PIL", "scikit-learn": "sklearn"}
    names = [re.split("[><=]", each)[0] for each in extra]
    assert {modules.get(name, name) for name in names} == {*reconfig.harness._NEEDED}


def test_every_public_name_is_there() -> None:
    assert {"Experiment", "Network", "attack", "run"} <= set(reconfig.harness.__all__)
    assert all(hasattr(reconfig.harness, name) for name in reconfig.harness.__all__)


@pytest.mark.parametrize("name", ["fgsm", "pgd20", "cw", "gama100"])
def test_an_attack_deceives_within_its_ball(name: str) -> None:
    model, (images, labels) = small_digits.network(), small_digits.test_images()
    images, labels = images[:60], labels[:60]
    attacked = attack(model, images, labels, name, small_digits.THREAT)
    assert (attacked - images).abs().max() <= float(small_digits.THREAT.eps) + 1e-6
    with torch.no_grad():
        right = [(model(shown).argmax(1) == labels).sum() for shown in (images, attacked)]
    assert right[1] < right[0]
    assert torch.equal(attacked, attack(model, images, labels, name, small_digits.THREAT))
    if name == "pgd20":
        assert not torch.equal(attacked, attack(model, images, labels, name, small_digits.THREAT, seed=1))


def test_an_attack_without_a_threat_is_the_papers_and_unknown_ones_are_refused() -> None:
    model, (images, labels) = small_digits.network(), small_digits.test_images()
    moved = attack(model, images[:5], labels[:5], "fgsm") - images[:5]
    assert moved.abs().max().item() == pytest.approx(float(Threat().eps), abs=1e-6)
    with pytest.raises(AttackError, match=r"there is no attack 'pgd7'; write one of fgsm, fgsm-random, pgd20, cw, cw-"):
        attack(model, images, labels, "pgd7")
