"""What is carried to a machine that keeps nothing, and back: whole, small, and the same to the bit."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.gpu import pack, travel, weights
from benchmarks.gpu.ledger import Item
from benchmarks.gpu.pack import PackError
from benchmarks.gpu.travel import TravelError
from benchmarks.gpu.weights import PartsError
from reconfig.harness import files

SMALL = 600_000


def model(seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {
        "large": torch.randn(3, 100_003),  # larger than a part
        "half": torch.randn(50, 7).bfloat16(),
        "count": torch.tensor(12345),
        "none": torch.zeros(0, 4),
        "more": torch.randn(100_000).double(),
    }


def checkpoint(path: Path, seed: int = 0) -> dict[str, Tensor]:
    held = model(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    optimizer = {"momentum": torch.randn(1000)}
    files.save_checkpoint(
        path, {"model": held, "optimizer": optimizer, "state": {"epoch": 3, "history": [{"clean": 1.5}]}}
    )
    return held


def parts(folder: Path, name: str = "row/out/γ=1/best") -> list[Path]:
    checkpoint(folder / "best.pt")
    return weights.split(folder / "best.pt", name, folder / "parts", limit=SMALL)


def joined(folder: Path) -> tuple[str, dict[str, Any]]:
    (of_one,) = weights.find(folder).values()
    return weights.join(of_one)


def test_parts_make_the_weights_that_they_were_split_from(tmp_path: Path) -> None:
    written = parts(tmp_path)
    assert len(written) >= 4
    assert all(path.stat().st_size <= SMALL for path in written)
    assert all(set(path.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_") for path in written)
    name, held = joined(tmp_path / "parts")
    assert name == "row/out/γ=1/best"
    assert held["state"] == {"epoch": 3, "history": [{"clean": 1.5}]}
    for key, tensor in model().items():
        assert held["model"][key].dtype == tensor.dtype
        assert torch.equal(held["model"][key], tensor), key
    # They are a safetensors file for anybody.
    (tmp_path / "whole.safetensors").write_bytes(b"".join(path.read_bytes() for path in written))
    assert torch.equal(load_file(tmp_path / "whole.safetensors")["large"], model()["large"])


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    written = parts(tmp_path)
    written[1].unlink()
    with pytest.raises(PartsError, match=rf"has {len(written)} parts, of which are missing: 2"):
        joined(tmp_path)


def test_parts_of_two_checkpoints_do_not_mix(tmp_path: Path) -> None:
    checkpoint(tmp_path / "other.pt", seed=1)
    for path in ("best", "other"):
        checkpoint(tmp_path / f"{path}.pt", seed=len(path))
        weights.split(tmp_path / f"{path}.pt", "the same", tmp_path / "parts", limit=SMALL)
    found = [weights.join(of_one)[1]["model"]["large"] for of_one in weights.find(tmp_path).values()]
    assert len(found) == 2
    assert not torch.equal(*found)


@pytest.mark.parametrize("alter", [lambda held: held[:-1] + b"x", lambda held: held[:1000]])
def test_an_altered_part_is_seen(alter: Callable[[bytes], bytes], tmp_path: Path) -> None:
    written = parts(tmp_path)
    written[1].write_bytes(alter(written[1].read_bytes()))
    with pytest.raises(PartsError, match="do not make what was split"):
        joined(tmp_path)


# ---------------------------------------------------------------- there and back


def evidence(folder: Path, networks: int = 2) -> tuple[Item, ...]:
    given = tuple(Item(f"row-{number}", "", lambda folder: [], 1.0, "") for number in range(networks))
    for number, item in enumerate(given):
        network = folder / item.name / "out" / "original"
        checkpoint(network / "best.pt", number)
        (network / "last.pt").write_bytes(b"x" * 1000)
        (network / "metrics.jsonl").write_text("{}\n")
        save_file({"pgd20": torch.ones(5, dtype=torch.bool)}, network / "verdicts.safetensors")
        (network / "outcome.json").write_text("{}")
        (folder / item.name / "finished.json").write_text("{}")
    return given


def test_what_must_survive_comes_back(tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    given = evidence(there)
    travel.send(given, there, tmp_path / "sent")
    shutil.rmtree(there)
    travel.take_in(tmp_path / "sent", back)
    for number, item in enumerate(given):
        network = back / item.name / "out" / "original"
        held = files.load_checkpoint(network / "best.pt")
        assert all(torch.equal(held["model"][name], tensor) for name, tensor in model(number).items())
        assert (network / "metrics.jsonl").read_text() == "{}\n"
        assert load_file(network / "verdicts.safetensors")["pgd20"].all()
        assert not (network / "last.pt").exists()
        assert (back / item.name / "finished.json").exists()


def test_few_files_travel_and_the_rest_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights.split, "__defaults__", (SMALL,))
    there, back = tmp_path / "there", tmp_path / "back"
    given = evidence(there, 3)
    for time in (1, 2, 3):
        said = travel.send(given, there, tmp_path / "sent" / f"{time}")
        written = list((tmp_path / "sent" / f"{time}").iterdir())
        assert 4 < len(written) <= travel.FILES
        assert all(path.stat().st_size <= SMALL for path in written)
        assert sum("next time" in line for line in said) == 3 - time
    travel.take_in(tmp_path / "sent", back)
    for number, item in enumerate(given):
        held = files.load_checkpoint(back / item.name / "out" / "original" / "best.pt")
        assert torch.equal(held["model"]["large"], model(number)["large"])
    assert len(json.loads((back / "sent.json").read_text())["weights"]) == 3


def test_weights_that_did_not_arrive_are_told_and_the_rest_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights.split, "__defaults__", (SMALL,))
    there, back = tmp_path / "there", tmp_path / "back"
    given = evidence(there, 1)
    travel.send(given, there, tmp_path / "sent")
    next((tmp_path / "sent").glob("*.02-of-*")).unlink()
    lines = travel.take_in(tmp_path / "sent", back)
    assert (back / "row-0" / "out" / "original" / "metrics.jsonl").exists()
    assert any("of which are missing: 2" in line for line in lines)
    assert not list(back.rglob("*.pt"))
    assert not (back / "sent.json").exists()


def test_of_a_network_under_way_the_metrics_alone_are_sent(tmp_path: Path) -> None:
    """It is trained anew where its optimiser's state is not, and verdicts on other weights would stop it there."""
    there, back = tmp_path / "there", tmp_path / "back"
    given = evidence(there, 1)
    network = there / "row-0" / "out" / "original"
    (network / "outcome.json").unlink()
    (network / "best" / "aa").mkdir(parents=True)
    save_file({"standing": torch.ones(5)}, network / "best" / "aa" / "000000-000005.safetensors")
    travel.send(given, there, tmp_path / "sent")
    travel.take_in(tmp_path / "sent", back)
    assert [path.name for path in (back / "row-0" / "out").rglob("*") if path.is_file()] == ["metrics.jsonl"]


def test_the_newest_of_a_file_stays_whichever_comes_first(tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    given = evidence(there, 1)
    log = there / "row-0" / "log.txt"
    for number, text in ((2, "older"), (1, "newer")):
        log.write_text(text)
        os.utime(log, (1000 - number, 1000 - number))
        travel.send(given, there, tmp_path / "sent" / f"{number}")
    travel.take_in(tmp_path / "sent", back)
    assert (back / "row-0" / "log.txt").read_text() == "newer"
    (back / "row-0" / "log.txt").write_text("what a machine that is still warm wrote since")
    last = back / "row-0" / "out" / "original" / "best.pt"
    last.write_bytes(b"its own")
    travel.take_in(tmp_path / "sent", back)
    assert (back / "row-0" / "log.txt").read_text() == "what a machine that is still warm wrote since"
    assert last.read_bytes() == b"its own"


def test_a_folder_that_holds_something_is_not_sent_into(tmp_path: Path) -> None:
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "x").touch()
    with pytest.raises(TravelError, match="is not empty; give another --send"):
        travel.send((), tmp_path, tmp_path / "sent")
    with pytest.raises(TravelError, match=r"holds neither small\.tar\.gz nor parts"):
        travel.take_in(tmp_path / "sent", tmp_path / "back")


# ---------------------------------------------------------------- packing


def test_what_is_missing_is_found_in_any_number_of_steps() -> None:
    there = {"torch", "numpy", "pyyaml", "tqdm", "pillow", "tabulate", "portalocker", "typing-extensions"}
    assert pack.missing(["fvcore>=0.1", "numpy"], there, "3.12") == {"fvcore", "yacs", "termcolor", "iopath"}
    assert pack.missing(["tyro"], there, "3.12") == {"tyro", "docstring-parser", "typeguard"}
    asked = ["numpy; python_version < '3.12'", "yacs; python_version >= '3.12'"]
    assert [each.name for each in pack._that_apply(asked, (), "3.12")] == ["yacs"]
    with pytest.raises(PackError, match="no-such-package is not installed here"):
        pack.missing(["no-such-package"], there, "3.12")


def test_without_images_nothing_is_packed(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="holds no parquet files"):
        pack.pack(pack.Pack(data=tmp_path, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_what_is_too_large_is_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.parquet").write_bytes(b"0" * 10_000)
    monkeypatch.setattr(pack, "LIMIT", 9_000)
    monkeypatch.setattr(pack, "packages", lambda wanted: [])
    with pytest.raises(PackError, match=r"this is more than .*data 0\.0.*leave --extras out"):
        pack.pack(pack.Pack(data=tmp_path, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_evidence_is_taken_along_as_far_as_it_fits(tmp_path: Path) -> None:
    came = tmp_path / "came" / "1"
    came.mkdir(parents=True)
    for name, size in {"a.safetensors": 500, "b.safetensors": 300, "small.tar.gz": 400}.items():
        (came / name).write_bytes(b"0" * size)
    lines = pack._evidence(tmp_path / "came", tmp_path / "out", room=800)
    assert sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file()) == [
        "b.safetensors",
        "small.tar.gz",
    ]
    assert len(lines) == 1
    assert "a.safetensors" in lines[0]
