"""What has to be said under a table about how its figures were computed, and what the paper's are of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconfig.harness.jobs.outcome import CHECKPOINTS, Outcome
from reconfig.harness.measuring.measures import MEASURES
from reconfig.harness.paper import PaperRow

MARK = "†"
"""Beside a figure of the paper that its published code takes in another way than ours."""
_OTHERWISE = {
    "fgsm": "FGSM begins at the image; the paper's code has a PGD from random starts alone: see fgsm-random",
    "cw": "CW climbs each image's own margin; the paper's code climbs the sum over a batch and stands still once that"
    " turns, which leaves far more images right: see cw-batch",
}
_PAPER = {"fgsm-random": "fgsm", "cw-batch": "cw"}
"""Measures that are taken as the paper's code takes a figure of another name."""


def paper_cell(paper: PaperRow, measure: str, checkpoint: str) -> str:
    """The paper's figure for a measure, marked where its code measured something else."""
    column = _PAPER.get(measure, measure)
    figures: tuple[float, float] | None = getattr(paper, column, None)
    if figures is None:
        return "–"
    marks = (f" {MARK}" if measure in _OTHERWISE else "") + (" ?" if column in paper.unsure else "")
    return f"{figures[CHECKPOINTS.index(checkpoint)]:.2f}" + marks


def on_the_paper(papers: Iterable[PaperRow], measures: Sequence[str]) -> list[str]:
    """What the paper's rows are of, and in what its measures differ."""
    trained = "; ".join(dict.fromkeys(paper.trained for paper in papers))
    notes = [f"paper: Huang et al. (2021), Table 2: {trained}; best selected on test images."]
    notes += [f"{MARK} {text}." for measure, text in _OTHERWISE.items() if measure in measures]
    if "stability-label" in measures:
        notes.append("stability (from label) is attacked away from the label, as the paper's code has it.")
    return notes


def on_computing(runs: Sequence[Outcome], measures: Sequence[str]) -> list[str]:
    """In which precision, layout and form each figure was computed, and what ran compiled."""
    ways: dict[str, list[str]] = {}
    for measure in measures:
        found = {run.computed[checkpoint][measure] for run in runs for checkpoint in CHECKPOINTS}
        ways.setdefault(" or ".join(sorted(found)), []).append(MEASURES[measure].label)
    notes = ["Computed in " + "; in ".join(f"{way}: {', '.join(labels)}" for way, labels in ways.items()) + "."]
    for run in runs:
        if run.compiled is not None:
            counts = run.compiled
            notes.append(
                f"{run.name}, seed {run.seed}: {counts['compiled']:,} calls ran compiled and {counts['uncompiled']:,}"
                f" did not; {counts['graphs']} graphs, {counts['recompilations']} of them compiled again."
            )
    return notes
