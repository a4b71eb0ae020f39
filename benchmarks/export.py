"""Write a network of a finished run for others: as a safetensors file with its plan, or for RobustBench.

    python benchmarks/export.py runs/vgg11 vgg11-r.safetensors
    python benchmarks/export.py runs/wrn34 exported --to robustbench --name Doe2026Narrow --authors "Jane Doe"

A safetensors file is read back by reconfig.load(path, reconfig.zoo.vgg11). For RobustBench, OUT is a folder, which gets
a state dict that its RobustWideResNet loads, a model card and the entry for its model zoo.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from reconfig.harness import command


@dataclass(frozen=True)
class Options:
    """What to export, and where to."""

    run: Annotated[Path, tyro.conf.Positional]
    """The folder of a finished run."""
    out: Annotated[Path, tyro.conf.Positional]
    """The file, or for RobustBench the folder."""
    to: Literal["safetensors", "robustbench"] = "safetensors"
    """The form."""
    network: Literal["original", "variant"] = "variant"
    """Which of the run's networks."""
    checkpoint: Literal["best", "last"] = "best"
    """Which of its checkpoints."""
    seed: int | None = None
    """Of a run with several seeds, the one to take; the first where left out."""
    name: str | None = None
    """RobustBench's identifier, such as Huang2021Exploring; made of the run's where left out."""
    dataset: str | None = None
    """RobustBench's name of the images (cifar10, cifar100, imagenet), where the run's name for them differs."""
    title: str = "Exploring Architectural Ingredients of Adversarially Robust Deep Neural Networks"
    """Title on the model card."""
    authors: str = ""
    """Authors on the model card."""
    venue: str = ""
    """Venue on the model card; RobustBench shows none as unpublished."""
    link: str = "https://arxiv.org/abs/2110.03825"
    """Link on the model card."""


def export(options: Options) -> list[str]:
    """Write what the options ask for; what to tell the user.

    Raises:
        ReconfigError: One of its subclasses, for a run or network that cannot be exported; nothing is written then.
    """
    import reconfig
    from reconfig.harness import checkpoints
    from reconfig.harness.studies import leaderboard

    result = _result(options.run)
    config = checkpoints.read_config(options.run / "config.json")
    folder = _folder(options, config)
    classes = result["data"]["classes"]
    model = checkpoints.load_network(folder / f"{options.checkpoint}.pt", classes)
    if options.to == "safetensors":
        if options.out.exists():
            raise reconfig.ExportError(f"{options.out} exists; give another file")
        plan = reconfig.Plan.from_json((folder / "plan.json").read_text(encoding="utf-8"))
        reconfig.save(model, options.out, plan)
        factory = config[options.network]["factory"]
        return [f"Wrote {options.out}", f"Read it with reconfig.load({str(options.out)!r}, reconfig.zoo.{factory})"]

    network = leaderboard.shape(model)
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
    from reconfig import ExportError
    from reconfig.harness import files

    if not (run / "result.json").is_file():
        raise ExportError(f"{run} holds no result.json, so no finished run; end it with benchmarks/run.py ... --resume")
    return files.read_json(run / "result.json")


def _measured(folder: Path, checkpoint: str) -> tuple[dict[str, float], int]:
    """The checkpoint's scores, and the number of images that AutoAttack was run on."""
    from reconfig import ExportError
    from reconfig.harness import files, verdicts
    from reconfig.harness.jobs.job import read_outcome
    from reconfig.harness.measuring.evaluate import VERDICTS

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


def _folder(options: Options, config: dict[str, Any]) -> Path:
    """The network's folder: in the run's, or in that of a seed."""
    from reconfig import ExportError

    single = options.run / options.network
    seed = config["seed"] if options.seed is None else options.seed
    folder = options.run / f"seed-{seed}" / options.network
    if single.is_dir() and seed == config["seed"]:
        return single
    if not folder.is_dir():
        raise ExportError(f"{options.run} has no network {options.network} of seed {seed}: there is no {folder}")
    return folder


def main() -> int:
    """Export what the command line asks for; the exit code."""
    options = tyro.cli(Options, description=__doc__)
    return command.finish(lambda: print("\n".join(export(options))))


if __name__ == "__main__":
    sys.exit(main())
