"""A network of a finished run written for others: as safetensors with its plan, or as RobustBench takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import reconfig
from reconfig import ExportError
from reconfig.harness import checkpoints, files, verdicts
from reconfig.harness.building import for_classes
from reconfig.harness.jobs.outcome import read_outcome
from reconfig.harness.measuring.scores import VERDICTS
from reconfig.harness.normalised import bare
from reconfig.harness.options import ExportOptions
from reconfig.harness.studies import leaderboard


def run(options: ExportOptions) -> list[str]:
    """Write what the options ask for; what to tell the user.

    Raises:
        ReconfigError: One of its subclasses, for a run or network that cannot be exported; nothing is written then.
    """
    result = _result(options.run)
    config = checkpoints.read_config(options.run / "config.json")
    folder = _folder(options, config)
    moments = checkpoints.read_moments(folder)
    classes = result["data"]["classes"]
    model = checkpoints.load_network(folder / f"{options.checkpoint}.pt", classes)
    if options.to == "safetensors":
        if options.out.exists():
            raise ExportError(f"{options.out} exists; give another file")
        plan = reconfig.Plan.from_json((folder / "plan.json").read_text(encoding="utf-8"))
        reconfig.save(model, options.out, plan)
        name = str(for_classes(config[options.network]["model"], classes))
        made, also = f"reconfig.networks.build({name!r})", []
        if moments is not None:
            made = f"Normalised({made}, {[*moments.mean]}, {[*moments.std]})"
            also = ["Normalised is the normalisation in it: from reconfig.harness import Normalised"]
        return [f"Wrote {options.out}", f"Read it with reconfig.load({str(options.out)!r}, lambda: {made})", *also]

    network = leaderboard.shape(bare(model))
    dataset = leaderboard.dataset_name(options.dataset or result["data"]["name"], classes)
    scores, attacked = _measured(folder, options.checkpoint)
    credits = leaderboard.Credits(options.title, options.authors, options.venue, options.link)
    card = leaderboard.card(config, scores, dataset, result["data"]["test"], attacked, network, credits)
    name = options.name or f"{options.run.resolve().name}_{options.network}"
    threat = leaderboard.threat_name(config)
    written = leaderboard.write(options.out, name, dataset, threat, model, network, card)
    lines = [f"Wrote {path}" for path in written]
    if "autoattack_acc" not in card:
        lines.append(
            f"The card has no autoattack_acc, which the leaderboard needs: python benchmarks/attack.py {options.run}"
        )
    return lines


def _result(run: Path) -> dict[str, Any]:
    if not (run / "result.json").is_file():
        raise ExportError(f"{run} holds no result.json, so no finished run; end it with benchmarks/run.py ... --resume")
    return files.read_json(run / "result.json")


def _measured(folder: Path, checkpoint: str) -> tuple[dict[str, float], int]:
    """The checkpoint's scores, and the number of images that AutoAttack was run on."""
    outcome = read_outcome(folder)
    try:
        scores, measured = outcome.scores[checkpoint], outcome.measured(checkpoint)
    except KeyError as error:
        raise ExportError(f"{folder / 'outcome.json'} is not of this version ({files.reason(error)})") from error
    if "aa" not in scores:
        return scores, 0
    path = folder / measured / VERDICTS
    held, _ = verdicts.read(path)
    if "aa" not in held:
        raise ExportError(f"{path} has no verdicts of aa, which {folder / 'outcome.json'} counts; attack it again")
    return scores, len(held["aa"])


def _folder(options: ExportOptions, config: dict[str, Any]) -> Path:
    """The network's folder: in the run's, or in that of a seed."""
    single = options.run / options.network
    seed = config["seed"] if options.seed is None else options.seed
    folder = options.run / f"seed-{seed}" / options.network
    if single.is_dir() and seed == config["seed"]:
        return single
    if not folder.is_dir():
        raise ExportError(f"{options.run} has no network {options.network} of seed {seed}: there is no {folder}")
    return folder
