"""Where the network is in doubt, or would come to harm, the script is ended with a sentence that says what to write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from runner import CLIENTS, Runner

SEVERAL = {
    "teacher.py": ("resnet14", "resnet8", f"{CLIENTS}/models/resnet.py:resnet8"),
    "gan.py": ("Generator", "Discriminator", f"{CLIENTS}/gan.py:Discriminator"),
    "caught.py": ("resnet8", "resnet14", f"{CLIENTS}/models/resnet.py:resnet14"),
}


@pytest.mark.parametrize("client", SEVERAL)
def test_several_networks_are_listed(runner: Runner, client: str) -> None:
    first, second, choice = SEVERAL[client]
    ran = runner.run(client, "--own")
    assert ran.code == 1
    assert "loss" not in ran.out
    assert "error: the script makes 2 networks of different architectures:\n" in ran.err
    listed = ran.err.partition("architectures:\n")[2].splitlines()
    assert first in listed[0]
    assert second in listed[1]
    assert listed[1].endswith(f": --model {choice}")
    assert listed[3] == f"  reconfig run --rule 10-10-4 --model {choice} {CLIENTS}/{client} --own"


@pytest.mark.slow
def test_a_class_that_makes_several(runner: Runner) -> None:
    ran = runner.run("--model", "models.resnet:ResNet", "teacher.py")
    assert (ran.code, ran.out) == (1, "")
    assert "error: --model models.resnet:ResNet names 2 networks of different architectures:" in ran.err
    assert f"--rule 10-10-4 --model {CLIENTS}/models/resnet.py:resnet8 {CLIENTS}/teacher.py" in ran.err


@pytest.mark.slow
def test_a_name_that_made_nothing(runner: Runner) -> None:
    ran = runner.run("--model", "models.resnet:RestNet", "imported.py")
    assert (ran.code, ran.out) == (1, "")  # ended before the first step
    assert "nothing that --model models.resnet:RestNet names made a network; these were made:" in ran.err
    assert f"ResNet, made at {CLIENTS}/imported.py:9: --model models.resnet:ResNet" in ran.err


NOTHING = {
    "no network": ("import torch\nprint(torch.ones(1))\n", "no convolutional network was found in the script"),
    "no convolution": (
        "import torch\nnet = torch.nn.Linear(2, 2).to('cpu')\noptimizer = torch.optim.SGD(net.parameters(), 0.1)\n"
        "net(torch.ones(1, 2)).sum().backward()\noptimizer.step()\n",
        "no convolutional network was found in the script",
    ),
    "its parameters alone": (
        "import torch\nnet = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3))\n"
        "optimizer = torch.optim.SGD([net[0].weight], 0.1)\nnet(torch.ones(1, 3, 8, 8)).sum().backward()\n"
        "optimizer.step()\nprint('went on')\n",
        "no convolutional network was found in the script",
    ),
}


@pytest.mark.parametrize("name", NOTHING)
def test_nothing_found(runner: Runner, name: str) -> None:
    text, message = NOTHING[name]
    (runner.folder / "nothing.py").write_text(text)
    ran = runner.run("nothing.py")
    assert ran.code == 1
    assert "went on" not in ran.out
    assert f"error: {message}" in ran.err


def test_a_script_without_torch(tmp_path: Path) -> None:
    (tmp_path / "nothing.py").write_text("print(1)\n")
    command = [sys.executable, "-m", "reconfig", "run", "nothing.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (1, "1\n")
    assert ran.stderr == "error: nothing.py never imports torch, so there is no network in it to rewrite\n"


def test_a_script_that_only_helps_is_left_to_itself(runner: Runner) -> None:
    ran = runner.run("factory.py", "--help")
    assert ran.code == 0
    assert "one of its own" in ran.out
    assert ran.err == ""


def test_a_script_that_fails_before_is_left_to_itself(runner: Runner) -> None:
    (runner.folder / "fails.py").write_text("import sys\nsys.exit('wrong data')\n")
    ran = runner.run("fails.py")
    assert (ran.code, ran.err) == (1, "wrong data\n")


@pytest.mark.slow
def test_a_network_that_cannot_be_rewritten(runner: Runner) -> None:
    cases = [
        (("own_class.py",), "10-4-4-4-4-2", "stages"),
        (("--strict", "outputs.py"), "10-10-4", "cannot be scaled"),
        (("--budget", "5", "own_class.py"), "10-10-4", "budget"),
        (("two_inputs.py",), "10-10-4", "Pair, made at"),
    ]
    for words, rule, message in cases:
        ran = runner.run(*words, rule=rule)
        assert (ran.code, ran.out) == (1, ""), ran.err
        assert message in ran.err.partition("error: ")[2]
        assert "Traceback" not in ran.err


@pytest.mark.slow
def test_parameters_that_were_taken_too_early(runner: Runner) -> None:
    ran = runner.run("stale.py")
    assert (ran.code, ran.out) == (1, "")
    assert "an optimizer (SGD) holds parameters that the network had before it was rewritten" in ran.err
    named = runner.run("--model", "models.resnet:ResNet", "stale.py")
    assert (named.code, named.out) == (0, "went on\n"), named.err


BAD = [
    ((), "error: no script is named: write reconfig run --rule 10-10-4 train.py"),
    (("-m",), "error: no module is named"),
    (("trian.py",), "error: there is no script trian.py: name a file, or a module as in reconfig run -m trian"),
    (("-m", "no.such.module"), "error: there is no module no.such.module"),
    (("--rule", "10-10-x", "train.py"), "error: "),
    (("--model", "Net", "train.py"), "error: --model Net does not say where the class or function is: write models"),
    (("--model", "net.py:Net", "train.py"), "error: --model net.py:Net: there is no file net.py"),
    ((".",), "error: there is no __main__.py in ."),
]


@pytest.mark.parametrize(("words", "message"), BAD)
def test_bad_command_lines(runner: Runner, words: tuple[str, ...], message: str) -> None:
    ran = runner("run", *words)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(message)
