"""Trackers: the curves of a run for other programs, by way of accelerate, in the run's folder.

What a user says in a tracker's own environment variables (WANDB_DIR, MLFLOW_TRACKING_URI, TRACKIO_DIR, ...) counts
before what is chosen here.
"""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType

from reconfig import ReconfigError
from reconfig.harness import files

LOGS = "logs"
"""The folder of the trackers in a run's."""
_PROJECT = "reconfig"
"""What the runs of a shared store stand under, so that they can be compared; a run has the name of its folder."""
_REMEDIES = {"wandb": "log in with `wandb login` or set WANDB_MODE=offline", "mlflow": "look at MLFLOW_TRACKING_URI"}


class TrackerError(ReconfigError):
    """A tracker that is not there, or does not start."""


def check(name: str) -> None:
    """See that there is a tracker ``name``.

    Raises:
        TrackerError: If accelerate does not know it, or its package is not installed.
    """
    known = sorted(each.value for each in LoggerType if each is not LoggerType.ALL)
    if name not in known:
        raise TrackerError(
            f"accelerate {version('accelerate')} knows no tracker {name}; give --tracker none, or one of"
            f" {', '.join(known)}"
        )
    installed = sorted(str(each) for each in get_available_trackers())
    if name not in installed:
        raise TrackerError(
            f"the tracker {name} is not installed (installed: {', '.join(installed) or 'none'});"
            f" pip install {name}, or give --tracker none"
        )


def begin(
    accelerator: Accelerator, out: Path, config: Mapping[str, Any], networks: Iterable[str], resume: bool
) -> str | None:
    """Start the tracker that ``accelerator`` was made with, if any; the command that shows its curves.

    Of the processes of a run the main one alone does. A resumed run goes on in the tracker's own run.

    Args:
        accelerator: with at most one tracker.
        out: the run's folder, which exists.
        config: what the tracker shows of the run's settings, by name.
        networks: their folders within ``out``, which their curves are named after.
        resume: whether ``out`` may hold an earlier part of the run.

    Raises:
        TrackerError: If it does not start.
    """
    if not accelerator.log_with or not accelerator.is_main_process:
        return None
    (name,) = map(str, accelerator.log_with)
    logs = out.resolve() / LOGS
    logs.mkdir(exist_ok=True)
    project, arguments, shown = _chosen(name, out.resolve().name, logs, resume)
    plain = {
        field: value if isinstance(value, bool | int | float | str) else str(value) for field, value in config.items()
    }
    try:
        accelerator.init_trackers(project, plain, {name: arguments})
        tracker = accelerator.get_tracker(name, unwrap=True)
        if name == "wandb":
            for network in networks:
                tracker.define_metric(f"{network}/*", step_metric=f"{network}/epoch")
        if name == "mlflow":
            files.write_text(_id_file(logs, name), tracker.info.run_id)
    except Exception as error:  # each tracker has its own, and none of them a common one
        remedy = f"{_REMEDIES[name]}, then " if name in _REMEDIES else ""
        raise TrackerError(
            f"the tracker {name} does not start: {files.reason(error).rstrip('.')}. To go on, {remedy}add --resume to"
            " the same command; --tracker none goes without"
        ) from error
    return shown


def log(accelerator: Accelerator, folder: Path, row: Mapping[str, Any]) -> None:
    """Give the tracker the metrics of an epoch of the network in ``folder``: original/loss, seed-1/variant/loss, ..."""
    network = folder.relative_to(accelerator.project_dir)
    # wandb's steps only ever rise, over all networks: it would drop the second's. Its curves are over NETWORK/epoch.
    step = None if LoggerType.WANDB in accelerator.log_with else row["epoch"]
    accelerator.log({(network / name).as_posix(): value for name, value in row.items()}, step)


def _chosen(name: str, run: str, logs: Path, resume: bool) -> tuple[str, dict[str, Any], str | None]:
    """The project of a tracker, the arguments that it starts with, and the command that shows its curves."""
    match name:
        case "tensorboard":
            return run, {}, shlex.join(["tensorboard", "--logdir", str(logs)])
        case "wandb":
            os.environ.setdefault("WANDB_CACHE_DIR", str(logs / "wandb-cache"))  # its service writes there at once
            wanted = {"dir": str(logs), "name": run, "id": _run_id(logs), "resume": "allow"}
            variables = {"id": "WANDB_RUN_ID"}
            arguments = {
                argument: value
                for argument, value in wanted.items()
                if not os.environ.get(variables.get(argument, f"WANDB_{argument.upper()}"))
            }
            return os.environ.get("WANDB_PROJECT") or _PROJECT, arguments, None  # it says itself where to look
        case "mlflow":
            return _PROJECT, *_mlflow(run, logs)
        case "trackio":
            store = os.environ.setdefault("TRACKIO_DIR", str(logs / "trackio"))  # read when it is imported
            arguments = {"name": run, "resume": "allow" if resume else "never"}
            return _PROJECT, arguments, f"TRACKIO_DIR={shlex.quote(store)} trackio show --project {_PROJECT}"
        case _:
            return run, {}, None


def _mlflow(run: str, logs: Path) -> tuple[dict[str, Any], str | None]:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing is reported to anybody
    import mlflow

    held = _id_file(logs, "mlflow")
    arguments: dict[str, Any] = {"run_name": run, "run_id": held.read_text() if held.exists() else None}
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return arguments, None
    store = f"sqlite:///{logs / 'mlflow.db'}"
    mlflow.set_tracking_uri(store)
    return arguments | {"logging_dir": (logs / "mlflow").as_uri()}, shlex.join(
        ["mlflow", "ui", "--backend-store-uri", store]
    )


def _run_id(logs: Path) -> str:
    """The name that wandb knows the run by: drawn once, and the same in every part of it."""
    held = _id_file(logs, "wandb")
    if not held.exists():
        files.write_text(held, secrets.token_hex(4))
    return held.read_text()


def _id_file(logs: Path, tracker: str) -> Path:
    return logs / f"{tracker}-run"
