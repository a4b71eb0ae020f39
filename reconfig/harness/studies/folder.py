"""The output folder of a run or sweep, and whether it may begin or go on in it.

It holds:
    config.json              the experiment, and the fingerprint of its images
    original/, variant/      a network each, see ``jobs.job.complete``; with several seeds in seed-0/, seed-1/, ...
    result.json, table.md, table.tex, report.html      the comparison
    logs/                    what the tracker writes
A sweep's folder has a folder for each configuration in seed-0/, seed-1/, ..., and results.csv and figure.svg as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconfig import ReconfigError
from reconfig.harness import checkpoints, files, records
from reconfig.harness.data.dataset import Dataset, load_dataset
from reconfig.harness.data.moments import normalisation
from reconfig.harness.experiment import Setting
from reconfig.harness.files import DataError
from reconfig.harness.network import Network
from reconfig.harness.source_code import code_of


class FolderError(ReconfigError):
    """An output folder that holds something else than the run that wants it."""


def check(out: Path, resume: bool) -> None:
    """See that a run may write into ``out``.

    Raises:
        FolderError: If it is a file, holds something and ``resume`` is false, or holds something that no
            run left.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise FolderError(f"{out} is a file; give the name of a folder with --out")
    held = sorted(path.name for path in out.iterdir() if path.suffix != files.UNFINISHED)
    if held and not resume:
        some = ", ".join([*held[:4], *(["..."] if len(held) > 4 else [])])
        raise FolderError(
            f"{out} already holds {some}; nothing was changed."
            f" Add --resume to go on with that run, or give another folder with --out"
        )
    if held and "config.json" not in held:
        raise FolderError(f"{out} holds {held[0]} but no config.json, so no run of this program; give another --out")


_MEASURED = {f"evaluate.{name}" for name in ("attacks", "source", "aa_images", "aa_shard", "aa_precision")}
"""What decides the measures of finished networks alone. It may change from one part of a run to the next: what is asked
for and not there is measured, and what was measured stays, with how that was done beside it."""


def config(wanted: Setting, dataset: Dataset, networks: Mapping[str, Network]) -> dict[str, Any]:
    """What config.json holds: all that decides the result, with the ``networks`` by their folders.

    Raises:
        ReconfigError: One of its subclasses, where a normalisation does not fit the images, or a file of weights or of
            code is missing.
    """
    fields = records.plain(wanted) | {"images": dataset.fingerprint(), "extra_images": dataset.extra_fingerprint()}
    moments = normalisation(wanted.data, dataset)
    fields["normalisation"] = None if moments is None else {"mean": [*moments.mean], "std": [*moments.std]}
    fields.pop("paper", None)
    models = sorted({network.model for network in networks.values()})
    code = {model: digest for model in models if (digest := code_of(model)) is not None}
    begun = sorted({network.weights for network in networks.values() if network.weights is not None})
    if begun:
        fields["weights"] = {path: files.digest(Path(path)) for path in begun}
    return fields | {name: records.plain(network) for name, network in networks.items()} | {"code": code}


def check_config(out: Path, wanted: dict[str, Any], may_change: Collection[str] = ()) -> None:
    """See that a run begun in ``out`` is the one wanted; its data may lie elsewhere by now, and it may measure more.

    ``may_change`` names further fields that may.

    Raises:
        FolderError: If a field differs; the message names every one.
        CheckpointError: If config.json is damaged, or the code of a network has changed.
    """
    path = out / "config.json"
    if not path.exists():
        return
    began = files.read_json(path, "Put back a copy, or give another --out")
    checkpoints.check_code(wanted["code"], began.get("code", {}), path)
    changed = [
        f"{name} was {was} and is now {now}"
        for name, was, now in records.differences(began, wanted)
        if name not in {"data.path", "data.keep", *_MEASURED, *may_change}
    ]
    if changed:
        raise FolderError(
            f"cannot resume in {out}: {'; '.join(changed)}."
            f" Give the command that the run was begun with, or another --out"
        )


def reopen(path: Path, data: str | None) -> tuple[Setting, Dataset]:
    """The setting of the run that ``path`` lies in, and its images, which lie at ``data`` if not where they did.

    Without the extra images: they are trained on alone, and may be gone by now.

    Raises:
        CheckpointError: If the run's config.json is damaged, or of another version.
        DataError: If the images are others than those it was trained on.
    """
    config = checkpoints.read_config(path)
    setting = checkpoints.read_setting(config)
    dataset = load_dataset(replace(setting.data, path=data or setting.data.path, extra=None))
    if dataset.fingerprint() != config["images"]:
        raise DataError(
            f"{dataset.name} holds other images than {checkpoints.run_of(path)} was trained on; give theirs with --data"
        )
    return setting, dataset


def prepare(out: Path, wanted: dict[str, Any], folders: Iterable[Path]) -> None:
    """Make the folder, with config.json first, and ``folders`` in it."""
    out.mkdir(parents=True, exist_ok=True)
    files.remove_unfinished(out)
    files.write_json(out / "config.json", wanted)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
