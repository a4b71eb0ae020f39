from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from reconfig.harness import files
from reconfig.harness.files import CheckpointError

STATE: dict[str, Any] = {"weight": torch.arange(1000.0), "epoch": 3, "history": [{"loss": 0.5}], "best": None}


class Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("executed",))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    files.save_checkpoint(tmp_path / "last.pt", STATE)
    return tmp_path / "last.pt"


def test_a_checkpoint_comes_back(checkpoint: Path) -> None:
    state = files.load_checkpoint(checkpoint)
    assert torch.equal(state.pop("weight"), STATE["weight"])
    assert state == {name: value for name, value in STATE.items() if name != "weight"}
    assert [path.name for path in checkpoint.parent.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("left", [0, 1, 100, 2000, -1])
def test_a_truncated_checkpoint_is_refused(checkpoint: Path, left: int) -> None:
    content = checkpoint.read_bytes()[:left]
    checkpoint.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.pt is damaged or no checkpoint \(.*nothing was changed"):
        files.load_checkpoint(checkpoint)
    assert checkpoint.read_bytes() == content


def test_altered_weights_are_refused(checkpoint: Path) -> None:
    whole = checkpoint.read_bytes()
    first = whole.index(STATE["weight"].numpy().tobytes())
    for place in random.Random(0).sample(range(first, first + 4000), 20):
        content = bytearray(whole)
        content[place] ^= 1
        checkpoint.write_bytes(content)
        torch.load(checkpoint, weights_only=True)  # says nothing
        with pytest.raises(CheckpointError, match=r"checksum of .* does not match"):
            files.load_checkpoint(checkpoint)


def test_a_hostile_checkpoint_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Hostile()}, tmp_path / "last.pt")
    with pytest.raises(
        CheckpointError, match=r"last\.pt holds more than tensors and plain values.*nothing was changed"
    ):
        files.load_checkpoint(tmp_path / "last.pt")
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="it holds a list, not a dictionary"):
        files.load_checkpoint(tmp_path / "last.pt")


def test_a_remedy_ends_the_message(checkpoint: Path) -> None:
    checkpoint.unlink()
    with pytest.raises(CheckpointError, match=r"last\.pt .*No such file.*nothing was changed\. Do this$"):
        files.load_checkpoint(checkpoint, "Do this")


def test_a_failure_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_text(path, "old")

    def fail(unfinished: Path) -> None:
        unfinished.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        files.write(path, fail)
    assert path.read_text() == "old"
    files.remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_damaged_json_is_named(tmp_path: Path) -> None:
    files.write_json(tmp_path / "config.json", {"γ": 1})
    assert files.read_json(tmp_path / "config.json") == {"γ": 1}
    (tmp_path / "config.json").write_text('{"a": ')
    with pytest.raises(CheckpointError, match=r"config\.json is damaged .*; nothing was changed"):
        files.read_json(tmp_path / "config.json")
