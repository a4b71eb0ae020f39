"""What networks of timm publish about their widths, before and after.

For every network of zoo.json that has ``feature_info``: after "10-10-4" and after the same at gamma 1.5, what
``feature_info``, ``num_features`` and ``head_hidden_size`` say against what forward hooks see, and whether
``forward_intermediates`` and ``reset_classifier(7)`` (forward and backward) work as they do on the original. Writes
published.md, one row a network and gamma.

    python benchmarks/published.py
    python benchmarks/published.py --only resnet50 densenet121 --out runs
"""

from __future__ import annotations

import gc
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from rich.console import Console

import reconfig
from benchmarks.judging.models import Entry, build, entries
from benchmarks.judging.publishing import Published, judge_published
from benchmarks.judging.row import RULE, describe

ROOT = Path(__file__).resolve().parent.parent
GAMMAS = (1.0, 1.5)
HEADING = ("| network | gamma | feature_info before | after | what hooks and calls say |", "|---|---|---|---|---|")


@dataclass(frozen=True)
class Options:
    """Which networks."""

    only: tuple[str, ...] = ()
    """Names of networks; all of the list where left out."""
    out: Path = ROOT / "benchmarks" / "results"
    """Folder for the table."""


def main(options: Options) -> int:
    """Write the table, and return 1 where something is wrong that was right before."""
    console = Console()
    warnings.simplefilter("ignore")
    options.out.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    wrong = 0
    for entry in entries(options.only, "timm"):
        began = time.monotonic()
        before, after = judge(entry)
        for gamma, found in after.items():
            known = {problem.partition(" ")[0] for problem in before.problems}
            new = [problem for problem in found.problems if problem.partition(" ")[0] not in known]
            wrong += bool(new)
            verdict = "; ".join(new) or ("as the original: " + "; ".join(found.problems) if found.problems else "right")
            lines.append(
                f"| {entry.name} | {gamma:g} | {_listed(before.channels)} | {_listed(found.channels)} | {verdict} |"
            )
            console.print(f"{entry.name} {gamma:g} ({time.monotonic() - began:.0f} s) {verdict}", highlight=False)
        total = f"{len(lines) - wrong} of {len(lines)} right"
        (options.out / "published.md").write_text("\n".join([total, "", *HEADING, *lines]) + "\n")
    console.print(total, highlight=False)
    return 1 if wrong else 0


def judge(entry: Entry) -> tuple[Published, dict[float, Published]]:
    """The original, and its variant at each gamma."""
    images = torch.rand(1, 3, entry.input_size, entry.input_size)
    model = build(entry)
    after: dict[float, Published] = {}
    for gamma in GAMMAS:
        try:
            result = reconfig.apply(model, RULE, gamma=gamma, example_input=images)
            after[gamma] = judge_published(result, images)
            del result
        except Exception as error:
            after[gamma] = Published((), (describe(error),))
        gc.collect()
    return judge_published(model, images), after  # the original last, since judging gives it another classifier


def _listed(channels: tuple[int, ...]) -> str:
    shown = channels if len(channels) < 9 else (*channels[:3], channels[-1])
    return " ".join(map(str, shown)) + (f" ({len(channels)})" if len(channels) >= 9 else "")


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
