"""The peer: torch-pruning on the same models."""

from __future__ import annotations

from benchmarks.judging.models import Entry, build
from benchmarks.judging.row import Row, describe
from benchmarks.judging.sight import look, timed
from benchmarks.judging.training import train


def peer_row_of(entry: Entry) -> Row:
    """A row with the peer's columns; what it raises is a problem there."""
    row = Row.of(entry, 1.0)
    try:
        judge_peer(entry, row)
    except Exception as error:
        row.blame_peer(describe(error))
    return row


def judge_peer(entry: Entry, row: Row) -> None:
    """Torch-pruning on the same model: every layer halved but the classifier; judged in the same way."""
    import torch_pruning

    model = build(entry)
    images = entry.examples(1)
    before, parameters = look(model, images), sum(parameter.numel() for parameter in model.parameters())
    made = list(before.channels)  # some modules have a list under these names, which no set could look up
    ignored = [
        module
        for module in model.modules()
        if any(getattr(module, name, 0) in made for name in ("out_features", "out_channels"))
    ]

    def prune() -> None:
        importance = torch_pruning.importance.GroupMagnitudeImportance()
        torch_pruning.pruner.BasePruner(model, images, importance, pruning_ratio=0.5, ignored_layers=ignored).step()

    row.peer_seconds, _ = timed(prune)
    after = look(model, images)
    problems = train(model, entry, before.outputs[0][-1])
    if after.outputs != before.outputs:
        problems.append(f"outputs of shapes {after.outputs}")
    if sum(parameter.numel() for parameter in model.parameters()) >= parameters:
        problems.append("nothing was pruned")
    row.peer_right, row.peer_problem = "no" if problems else "yes", "; ".join(problems)
