"""AutoAttack as the harness runs it beside ``pyautoattack`` called as its README says: seconds and verdicts.

Both judge the same images of one network, trained here for a few epochs so that some stand. Each way leaves a file when
it ends, and one that is there is not run again.

    python -m benchmarks.gpu.autoattack_speed --out runs/autoattack-speed --data digits --gamma 0.1 --attack preview
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from torch import Tensor, nn

from benchmarks.gpu import subjects
from benchmarks.train_speed import start
from reconfig.harness import files
from reconfig.harness.attacks.autoattack import PREVIEW
from reconfig.harness.data.dataset import Dataset, load_dataset
from reconfig.harness.data.split import Split
from reconfig.harness.experiment import Compute, Data, Evaluate, Setting
from reconfig.harness.measuring.scores import read_verdicts, scores

README = "pyautoattack"
"""The way that the others are compared with."""


@dataclass(frozen=True)
class AutoAttackSpeed:
    """What to time."""

    out: Path
    """Folder of autoattack.json and autoattack.md."""
    data: str | None = None
    """Where the images are, as for run.py."""
    gamma: float = 1.0
    """Width of the VGG-11 that is attacked."""
    epochs: int = 5
    """Epochs of its training."""
    images: int = 500
    """Test images."""
    batch: int = 250
    """Images attacked at once; pyautoattack's own default."""
    attack: Literal["aa", "preview"] = "aa"
    """The whole of it, or its first two attacks."""
    device: Literal["auto", "cpu"] = "auto"
    """auto takes a GPU where there is one."""


WAYS: dict[str, dict[str, Any]] = {
    "harness": {},
    "harness, deterministic": {"deterministic": True},
    "harness, channels last": {"channels_last": True},
    "harness, channels last, compiled": {"channels_last": True, "compile": True},
}
"""How else the harness may compute. Deterministic is without cuDNN's timing of algorithms, which it does anew for each
number of images that still stand."""


def as_its_readme(wanted: AutoAttackSpeed, dataset: Dataset, split: Split) -> Tensor:
    """The verdicts of pyautoattack on a network in eval mode, called as its README says; in float32, not in TF32."""
    from pyautoattack import AutoAttack

    computer = start(Compute(device=wanted.device), wanted.out)
    torch.backends.cudnn.benchmark = False  # as torch ships
    model = _network(wanted, dataset).to(computer.device).eval()
    attacker = AutoAttack(model, norm="Linf", eps=8 / 255, version="standard", seed=0, device=computer.device)
    if wanted.attack == "preview":
        attacker.attacks_to_run = list(PREVIEW)
    images, labels = split.images.to(computer.device).float() / 255, split.labels.to(computer.device)
    _, answers = attacker.run_standard_evaluation(images, labels, batch_size=wanted.batch)
    return (answers == labels).cpu()


def by_harness(wanted: AutoAttackSpeed, dataset: Dataset, split: Split, compute: dict[str, Any], out: Path) -> Tensor:
    """The verdicts of the harness, all images in one shard."""
    computer = start(Compute(**{"device": wanted.device} | compute), wanted.out)
    evaluate = Evaluate(attacks=(wanted.attack,), batch=wanted.batch, aa_shard=wanted.images, aa_images=None)
    model = computer.set_up(_network(wanted, dataset))
    scores(computer, model, split.to(computer.device), Setting(evaluate=evaluate), out)
    return read_verdicts(out).right[wanted.attack]


def _network(wanted: AutoAttackSpeed, dataset: Dataset) -> nn.Module:
    model = subjects.network(dataset, wanted.gamma)
    model.load_state_dict(files.load_checkpoint(wanted.out / "model" / "last.pt")["model"])
    return model


def main(wanted: AutoAttackSpeed) -> None:
    """Time what has not been timed, and write the table."""
    wanted.out.mkdir(parents=True, exist_ok=True)
    dataset = load_dataset(Data(wanted.data))
    computer = start(Compute(device=wanted.device), wanted.out)
    hardware = computer.hardware()
    subjects.train(computer, dataset, subjects.network(dataset, wanted.gamma), wanted.epochs, wanted.out / "model")
    split = dataset.test[: wanted.images]
    rows: dict[str, Any] = {}
    for name, compute in {README: None, **WAYS}.items():
        if compute is not None and "compile" in compute and hardware["gpu"] is None:
            continue
        word = name.replace(", ", "-").replace(" ", "-")
        path = wanted.out / f"{word}.way.json"
        if not path.exists():
            began = time.perf_counter()
            if compute is None:
                standing = as_its_readme(wanted, dataset, split)
            else:
                standing = by_harness(wanted, dataset, split, compute, wanted.out / "shards" / word)
            files.write_json(path, {"seconds": time.perf_counter() - began, "standing": standing.tolist()})
        rows[name] = files.read_json(path)
    about = {"torch": torch.__version__, "hardware": hardware, "images": len(split), "attack": wanted.attack}
    files.write_json(wanted.out / "autoattack.json", about | {"ways": rows})
    files.write_text(wanted.out / "autoattack.md", table(rows, len(split), wanted, hardware))


def table(rows: dict[str, Any], count: int, wanted: AutoAttackSpeed, hardware: dict[str, Any]) -> str:
    """The ways in Markdown."""
    first = rows[README]
    what = "AutoAttack" if wanted.attack == "aa" else "APGD-CE and APGD-T (not AutoAttack)"
    lines = [
        f"{what} on {count} images, VGG-11 (γ={wanted.gamma:g}), float32, {hardware['gpu'] or hardware['cpu']},"
        f" torch {torch.__version__}",
        "",
        "|  | images/s | to pyautoattack | standing | verdicts that differ |",
        "| --- | --: | --: | --: | --: |",
    ]
    for name, row in rows.items():
        differ = sum(one != other for one, other in zip(row["standing"], first["standing"], strict=True))
        rate, ratio = count / row["seconds"], first["seconds"] / row["seconds"]
        lines.append(f"| {name} | {rate:.2f} | {ratio:.2f} | {sum(row['standing'])} | {differ} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(tyro.cli(AutoAttackSpeed, description=__doc__))
