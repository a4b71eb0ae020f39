"""Networks and experiments read back from the folder of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn

import reconfig
from reconfig.harness import files, records
from reconfig.harness.building import build
from reconfig.harness.experiment import Setting
from reconfig.harness.files import CheckpointError
from reconfig.harness.normalised import Moments, behind
from reconfig.harness.source_code import code_of


def find(path: Path) -> list[Path]:
    """The checkpoints at ``path``: itself, or all best.pt and last.pt of the run or network in that folder.

    Raises:
        CheckpointError: If there are none.
    """
    if path.is_file():
        return [path]
    found = sorted(file for name in ("best", "last") for file in path.rglob(f"{name}.pt"))
    if not found:
        raise CheckpointError(
            f"{path} holds no best.pt or last.pt; give the folder of a run, of a network, or a .pt file"
        )
    return found


def load_network(path: Path, classes: int) -> nn.Module:
    """The network of a checkpoint, in its variant's shape, with its weights, on the CPU and in eval mode.

    ``config.json`` and ``plan.json`` are looked for in the folders above the checkpoint.

    Raises:
        CheckpointError: If the checkpoint is damaged, lies in no run, or is of another network or number of classes;
            or if the file that the network comes from has changed since.
        NetworkError: If the network cannot be built any more.
    """
    saved = files.load_checkpoint(path)
    plan_file = _above(path, "plan.json")
    name = read_model(path)
    original = behind(build(name, classes), read_moments(path))
    check_code({name: code_of(name)}, read_config(path).get("code", {}), _above(path, "config.json"))
    try:
        plan = reconfig.Plan.from_json(plan_file.read_text(encoding="utf-8"))
        model = plan.apply(original)
        model.load_state_dict(saved["model"])
    except (reconfig.PlanError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is not of the network in {path.parent} with {classes} classes: {files.reason(error)}"
        ) from error
    return model.eval()


def run_of(path: Path) -> Path:
    """The folder of the run that ``path`` lies in.

    Raises:
        CheckpointError: If it lies in none.
    """
    return _above(path, "config.json").parent


def read_config(path: Path) -> dict[str, Any]:
    """The config.json of the run that ``path`` lies in.

    Raises:
        CheckpointError: If it lies in none, or the file is damaged.
    """
    return files.read_json(_above(path, "config.json"))


def read_setting(config: dict[str, Any]) -> Setting:
    """The setting that a run was begun with, from its config.json.

    Raises:
        CheckpointError: If a field is missing or has a bad value.
    """
    try:
        return records.read(Setting, {field.name: config[field.name] for field in fields(Setting)})
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"config.json is not of this version: {files.reason(error)}") from error


def read_moments(path: Path) -> Moments | None:
    """The normalisation in the networks of the run that ``path`` lies in, from its config.json; None for none.

    Raises:
        CheckpointError: If it lies in no run, or config.json is not of this version.
    """
    config = _above(path, "config.json")
    found = files.read_json(config).get("normalisation")
    if found is None:
        return None
    try:
        return Moments(*(tuple(map(float, found[name])) for name in Moments._fields))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{config} is not of this version: its normalisation is {found!r:.60}") from error


def read_model(path: Path) -> str:
    """The name of the network of the checkpoint at ``path``, from the config.json of its run.

    Raises:
        CheckpointError: If it lies in no run, or config.json is not of this version.
    """
    role = _above(path, "plan.json").parent.name
    try:
        return read_config(path)[role]["model"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"config.json of {path} is not of this version: it does not say what {role} is"
        ) from error


def check_code(now: Mapping[str, str | None], before: Mapping[str, str], config: Path) -> None:
    """See that networks of one's own are made of the same files ``now`` as ``before``, which ``config`` says.

    Raises:
        CheckpointError: If the code of one has changed.
    """
    for model, digest in now.items():
        was = before.get(model, digest)
        if was != digest:
            raise CheckpointError(
                f"the code of {model} is not what it was when {config.parent} was begun (its digest was {was} and is"
                f" now {digest}); nothing was changed. Put the old code back, or begin another run with another --out"
            )


def _above(path: Path, name: str) -> Path:
    for folder in path.absolute().parents:
        if (folder / name).exists():
            return folder / name
    raise CheckpointError(f"{path} lies in no run: there is no {name} in the folders above it")
