"""Corrupt, truncated, hostile and wrong input to everything that reads: a clear error, nothing run, nothing lost.

Each case makes its files in an empty folder, which is then the working directory, and returns the call that reads them.
A pickle that were executed would make a folder there; afterwards every file has to be as it was, and no other there.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import reconfig
from benchmarks import run
from recipes.demo import demo
from reconfig import Plan, ReconfigError, zoo
from reconfig.harness import checkpoints, files
from reconfig.harness.data.dataset import load_dataset
from reconfig.harness.data.pickles import read_arrays
from reconfig.harness.experiment import Data
from reconfig.harness.studies import comparison

Case = tuple[Callable[[], object], str]
CASES: dict[str, Callable[[], Case]] = {}


def case(maker: Callable[[], Case]) -> Callable[[], Case]:
    """Enter a case under the name of its function."""
    assert maker.__name__ not in CASES
    CASES[maker.__name__] = maker
    return maker


class Hostile:
    """Unpickled, it makes a folder."""

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("executed",))


# ---------------------------------------------------------------- image data

PIXELS = np.zeros((4, 3072), np.uint8)


def png(width: int = 32, height: int = 32) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "png")
    return buffer.getvalue()


def parquet(name: str = "train", images: object = None, labels: object = None) -> Path:
    path = Path(f"{name}-0.parquet")
    images = [{"bytes": png()}] * 4 if images is None else images
    pyarrow.parquet.write_table(
        pyarrow.table({"img": images, "label": [0, 1, 2, 3] if labels is None else labels}), path
    )
    return path


def batches(value: object) -> Case:
    """A cifar-10-batches-py folder whose second batch is wrong."""
    folder = Path("cifar-10-batches-py")
    folder.mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(pickle.dumps({b"data": PIXELS, b"labels": [0, 1, 2, 3]}, protocol=2))
    content = value if isinstance(value, bytes) else pickle.dumps(value, protocol=2)
    (folder / "data_batch_2").write_bytes(content)
    return partial(load_dataset, Data(".")), r"data_batch_2 (is damaged|holds)"


@case
def data_that_is_not_there() -> Case:
    return partial(load_dataset, Data("nowhere")), "nowhere"


@case
def data_that_is_a_file() -> Case:
    Path("data").write_text("cat")
    return partial(load_dataset, Data("data")), "data"


@case
def data_in_an_empty_folder() -> Case:
    return partial(load_dataset, Data(".")), "train-"


@case
def parquet_truncated() -> Case:
    path = parquet()
    path.write_bytes(path.read_bytes()[:-20])
    parquet("test")
    return partial(load_dataset, Data(".")), r"train-0\.parquet is truncated or no parquet file"


@case
def parquet_that_is_a_hostile_pickle() -> Case:
    parquet("test")
    Path("train-0.parquet").write_bytes(pickle.dumps(Hostile()))
    return partial(load_dataset, Data(".")), r"train-0\.parquet is truncated or no parquet file"


@case
def parquet_with_hostile_images() -> Case:
    parquet("test")
    parquet("train", [{"bytes": pickle.dumps(Hostile())}] * 4)
    return partial(load_dataset, Data(".")), r"train-0\.parquet, row 0 is no readable image"


@case
def parquet_with_an_image_of_a_terapixel() -> Case:
    whole = png()
    huge = whole[:16] + struct.pack(">II", 1_000_000, 1_000_000) + whole[24:]
    parquet("test")
    parquet("train", [{"bytes": huge}] * 4)
    return partial(load_dataset, Data(".")), "row 0 is no readable image"


@case
def parquet_with_labels_out_of_range() -> Case:
    parquet("test")
    parquet("train", labels=[0, 1, 2, -(2**62)])
    return partial(load_dataset, Data(".")), "has the label -4611686018427387904; classes count from 0"


@case
def batch_that_is_a_hostile_pickle() -> Case:
    return batches(Hostile())


@case
def batch_with_hostile_labels() -> Case:
    return batches({b"data": PIXELS, b"labels": Hostile()})


@case
def batch_with_a_hostile_key() -> Case:
    return batches({b"data": PIXELS, b"labels": [0] * 4, b"more": [{"deep": [Hostile()]}]})


@case
def batch_with_hostile_objects_in_an_array() -> Case:
    return batches({b"data": np.array([Hostile()], dtype=object), b"labels": [0]})


@case
def batch_truncated() -> Case:
    return batches(pickle.dumps({b"data": PIXELS, b"labels": [0] * 4}, protocol=2)[:5000])


@case
def batch_of_zeros() -> Case:
    return batches(bytes(1000))


@case
def batch_empty() -> Case:
    return batches(b"")


@case
def batch_compressed() -> Case:
    return batches(gzip.compress(pickle.dumps({b"data": PIXELS, b"labels": [0] * 4})))


@case
def batch_whose_array_claims_a_petabyte() -> Case:
    content = pickle.dumps({b"data": PIXELS, b"labels": [0] * 4}, protocol=2)
    shape = b"K\x04M\x00\x0c\x86"
    assert shape in content
    return batches(content.replace(shape, b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86"))


@case
def image_folder_of_texts() -> Case:
    for path in ("train/a/1.png", "train/b/1.png", "test/a/1.png"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("no image")
    return partial(load_dataset, Data(".")), r"1\.png is no readable image"


@case
def extra_npz_with_hostile_objects() -> Case:
    np.savez("more.npz", image=np.array([Hostile()], dtype=object), label=np.zeros(1, np.int64))
    return partial(load_dataset, Data("digits", extra="more.npz")), r"more\.npz is damaged or no npz of arrays"


@case
def extra_npz_truncated() -> Case:
    np.savez("more.npz", image=np.zeros((2, 32, 32, 3), np.uint8), label=np.zeros(2, np.int64))
    Path("more.npz").write_bytes(Path("more.npz").read_bytes()[:3000])
    return partial(load_dataset, Data("digits", extra="more.npz")), r"more\.npz is damaged or no npz of arrays"


@case
def extra_pickle_hostile() -> Case:
    Path("more.pickle").write_bytes(pickle.dumps({"data": Hostile(), "extrapolated_targets": [0]}))
    return partial(
        load_dataset, Data("digits", extra="more.pickle")
    ), r"asks for posix\.mkdir, and only numpy arrays are let in"


@case
def pickle_nested_without_end() -> Case:
    Path("deep").write_bytes(b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b".")
    return partial(read_arrays, Path("deep")), "deep is damaged or no pickle of arrays: it holds a list"


# ---------------------------------------------------------------- checkpoints


def checkpoint(content: bytes | None = None) -> Callable[[], object]:
    path = Path("last.pt")
    if content is None:
        files.save_checkpoint(path, {"model": {"weight": torch.arange(1000.0)}, "state": {"epoch": 1}})
    else:
        path.write_bytes(content)
    return partial(files.load_checkpoint, path)


DAMAGED = r"last\.pt is damaged or no checkpoint"


@case
def checkpoint_that_is_not_there() -> Case:
    return partial(files.load_checkpoint, Path("last.pt")), DAMAGED


@case
def checkpoint_that_is_a_folder() -> Case:
    Path("last.pt").mkdir()
    return partial(files.load_checkpoint, Path("last.pt")), DAMAGED


@case
def checkpoint_empty() -> Case:
    return checkpoint(b""), DAMAGED


@case
def checkpoint_truncated() -> Case:
    call = checkpoint()
    Path("last.pt").write_bytes(Path("last.pt").read_bytes()[:-100])
    return call, DAMAGED


@case
def checkpoint_with_a_flipped_bit() -> Case:
    call = checkpoint()
    content = bytearray(Path("last.pt").read_bytes())
    content[content.index(torch.arange(1000.0).numpy().tobytes()) + 17] ^= 4
    Path("last.pt").write_bytes(content)
    return call, "checksum of .* does not match"


@case
def checkpoint_that_is_a_hostile_pickle() -> Case:
    return checkpoint(pickle.dumps({"model": Hostile()})), DAMAGED


@case
def checkpoint_with_something_hostile() -> Case:
    torch.save({"model": {"weight": torch.zeros(1)}, "state": Hostile()}, "last.pt")
    return partial(files.load_checkpoint, Path("last.pt")), "holds more than tensors and plain values"


@case
def checkpoint_that_is_another_zip() -> Case:
    with zipfile.ZipFile("last.pt", "w") as archive:
        archive.writestr("../../outside", "content")
        archive.writestr("data.pkl", pickle.dumps(Hostile()))
    return partial(files.load_checkpoint, Path("last.pt")), DAMAGED


def finished(plan: str, weights: dict[str, torch.Tensor]) -> Callable[[], object]:
    """A network in the folder of a run."""
    Path("variant").mkdir()
    files.write_json(Path("config.json"), {"variant": {"model": "zoo:vgg11"}})
    files.write_text(Path("variant/plan.json"), plan)
    files.save_checkpoint(Path("variant/best.pt"), {"model": weights})
    return partial(checkpoints.load_network, Path("variant/best.pt"), 10)


@case
def checkpoint_of_another_network() -> Case:
    with torch.device("meta"):
        plan = reconfig.plan(zoo.wrn(10, 1), "10-10-4")
    return finished(plan.to_json(), {"fc.weight": torch.zeros(10, 3)}), r"best\.pt is not of the network"


@case
def checkpoint_beside_a_damaged_plan() -> Case:
    return finished('{"format": 1, ', {}), "this is not a plan"


# ---------------------------------------------------------------- plans

NO_PLAN = r"this is not a plan written by Plan\.to_json\(\): .*; make one with reconfig\.plan\(model, \.\.\.\)"


def plan() -> Plan:
    return reconfig.plan(zoo.wrn(10, 1), "10-10-4")


def plan_with(**changes: object) -> Case:
    return partial(Plan.from_json, json.dumps(json.loads(plan().to_json()) | changes)), NO_PLAN


@case
def plan_of_nothing() -> Case:
    return partial(Plan.from_json, ""), NO_PLAN


@case
def plan_that_is_a_list() -> Case:
    return partial(Plan.from_json, "[1, 2]"), NO_PLAN


@case
def plan_truncated() -> Case:
    return partial(Plan.from_json, plan().to_json()[:-10]), NO_PLAN


@case
def plan_of_another_format() -> Case:
    return plan_with(format=99)


@case
def plan_with_a_field_too_many() -> Case:
    return plan_with(run="rm -r /")


@case
def plan_with_wrong_stages() -> Case:
    return plan_with(stages=[{"index": 1}])


@case
def plan_with_wrong_shapes() -> Case:
    return plan_with(after={"fc.weight": 3})


@case
def plan_nested_without_end() -> Case:
    return partial(Plan.from_json, "[" * 100_000), NO_PLAN


@case
def plan_for_another_model() -> Case:
    return partial(plan().apply, zoo.wrn(16, 1)), "this plan was made for another architecture"


# ---------------------------------------------------------------- exports

BROKEN = r"a\.safetensors is truncated, altered or no safetensors file"


def exported(content: bytes | None = None) -> Callable[[], object]:
    path = Path("a.safetensors")
    if content is None:
        made = plan()
        reconfig.save(made.apply(zoo.wrn(10, 1)), path, made)
    else:
        path.write_bytes(content)
    return partial(reconfig.load, path, lambda: zoo.wrn(10, 1))


@case
def export_that_is_not_there() -> Case:
    return partial(reconfig.load, "a.safetensors", zoo.vgg11), r"a\.safetensors is missing"


@case
def export_that_is_a_hostile_pickle() -> Case:
    return exported(pickle.dumps(Hostile())), BROKEN


@case
def export_that_is_a_hostile_checkpoint() -> Case:
    torch.save(Hostile(), "a.safetensors")
    return partial(reconfig.load, "a.safetensors", zoo.vgg11), BROKEN


@case
def export_empty() -> Case:
    return exported(b""), BROKEN


@case
def export_whose_header_is_too_long() -> Case:
    return exported(struct.pack("<Q", 2**63) + b"{}"), BROKEN


@case
def export_with_tensors_beyond_its_end() -> Case:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    return exported(struct.pack("<Q", len(header)) + header), BROKEN


@case
def export_truncated() -> Case:
    call = exported()
    Path("a.safetensors").write_bytes(Path("a.safetensors").read_bytes()[:-1])
    return call, BROKEN


@case
def export_of_somebody_else() -> Case:
    save_file({"weight": torch.zeros(3)}, "a.safetensors")
    return partial(reconfig.load, "a.safetensors", zoo.vgg11), "carries no plan, so reconfig did not write it"


@case
def export_with_an_altered_plan() -> Case:
    call = exported()
    content = Path("a.safetensors").read_bytes()
    assert b"10-10-4" in content
    Path("a.safetensors").write_bytes(content.replace(b"10-10-4", b"10-10-5"))
    return call, "the plan in .* was altered: its checksum does not match"


@case
def export_of_another_network() -> Case:
    exported()
    return partial(
        reconfig.load, "a.safetensors", lambda: zoo.wrn(10, 2)
    ), "another architecture than the factory makes"


# ---------------------------------------------------------------- configurations


def resumed(config: str | bytes | None) -> Callable[[], object]:
    """A run to be gone on with, whose folder holds this config.json."""
    out = Path("out")
    (out / "original").mkdir(parents=True)
    (out / "original" / "last.pt").write_bytes(b"months of work")
    if config is not None:
        (out / "config.json").write_bytes(config if isinstance(config, bytes) else config.encode())
    return partial(comparison.run, demo(), out, resume=True)


@case
def config_truncated() -> Case:
    return resumed('{"seed": '), r"config\.json is damaged .*; nothing was changed"


@case
def config_that_is_a_hostile_pickle() -> Case:
    return resumed(pickle.dumps(Hostile())), r"config\.json is damaged .*; nothing was changed"


@case
def config_that_is_a_list() -> Case:
    return resumed("[]"), r"config\.json is damaged \(it holds a list, not an object\); nothing was changed"


@case
def config_nested_without_end() -> Case:
    return resumed("[" * 100_000), r"config\.json is damaged .*; nothing was changed"


@case
def config_of_another_run() -> Case:
    return resumed('{"seed": 7}'), "cannot resume in out: .*seed was 7 and is now 0"


@case
def config_that_is_missing() -> Case:
    return resumed(None), "no config.json, so no run of this program"


@case
def out_without_resume() -> Case:
    resumed("{}")
    return partial(comparison.run, demo(), "out"), "already holds config.json, original; nothing was changed"


@case
def out_that_is_a_file() -> Case:
    Path("out").write_text("a thesis")
    return partial(comparison.run, demo(), "out"), "out is a file; give the name of a folder"


def everything() -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in Path().rglob("*")}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_input_that_is_no_good(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call, message = CASES[name]()
    before = everything()
    with pytest.raises(ReconfigError, match=message):
        call()
    assert everything() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such_recipe"], "no_such_recipe"),
        (["demo", "--train.epochs", "0"], "train.epochs must be at least 1, not 0"),
        (["demo", "--train.epochs", "ten"], "ten"),
        (["demo", "--train.lr", "nan"], "train.lr must be above 0, not nan"),
        (["demo", "--threat.eps", "1/0"], "1/0 divides by zero"),
        (["demo", "--threat.eps", "__import__('os')"], "eps"),
        (["demo", "--data.hold-out", "-1"], "data.hold_out must be at least 1, not -1"),
        (["demo", "--evaluate.attacks", "rm"], "attacks"),
        (["demo", "--no-such-flag", "1"], "no-such-flag"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_values_that_are_no_good(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        run.main()
    assert stopped.value.code not in (0, None)
    captured = capsys.readouterr()
    assert message in " ".join((captured.err + captured.out).replace("│", " ").split())
    assert not everything()


def test_the_hostile_pickle_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Hostile()))
    assert everything() == {Path("executed"): None}


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 50
