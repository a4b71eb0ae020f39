"""Results that nobody measured: for the tests of tables and pages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from recipes import discover
from reconfig.harness.jobs.outcome import Outcome

VGG = discover()["vgg11"]()
DATA: dict[str, Any] = {"name": "some images", "train": 49000, "selection": 1000, "test": 10000}


def outcome(name: str, base: float, seed: int = 0, params: int = 9231114) -> Outcome:
    scores = {
        "last": {"clean": base, "fgsm": base - 20, "pgd20": base - 30},
        "best": {"clean": base - 1, "fgsm": base - 19, "pgd20": base - 28},
    }
    return rescored(Outcome(name, seed, params, 10**9, {}, {"last": 100, "best": 76}, 12.5, {}, None), scores)


def rescored(run: Outcome, scores: dict[str, dict[str, float]], computed: str = "fp32") -> Outcome:
    """``run`` with other scores, all computed in one way."""
    ways = {checkpoint: dict.fromkeys(measures, computed) for checkpoint, measures in scores.items()}
    return replace(run, scores=scores, computed=ways)


ONE = {"original": [outcome("vgg11", 80.0)], "variant": [outcome("vgg11 10-10-4", 81.0, params=5830475)]}
