"""Recipes: one module per study, each with a function of the module's name.

It returns an ``Experiment``, which ``benchmarks/run.py`` does, or a ``Sweep``, which ``benchmarks/sweep.py`` does. To
add a recipe, add a file ``mystudy.py`` with ``def mystudy() -> Experiment``; the first line of its docstring is what
``--help`` shows. There is no list to edit.

The paper's published code selects the best epoch on test images, from half of the epochs on; these recipes hold images
out of the training set instead. ``--select test --evaluate.select-after 1/2`` does as the code does.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from reconfig.harness import Experiment, Sweep

Recipe = Callable[[], Experiment]


def discover() -> dict[str, Recipe]:
    """All recipes of two networks by name, in alphabetical order.

    Raises:
        TypeError: If a module of this folder has no function of its own name.
    """
    return {name: recipe for name, recipe in _all().items() if isinstance(recipe(), Experiment)}


def discover_sweeps() -> dict[str, Callable[[], Sweep]]:
    """The same of sweeps."""
    return {name: recipe for name, recipe in _all().items() if isinstance(recipe(), Sweep)}


def _all() -> dict[str, Callable[[], Any]]:
    found = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        if name == "sweeps":
            continue
        recipe = getattr(importlib.import_module(f"{__name__}.{name}"), name, None)
        if not callable(recipe):
            raise TypeError(f"recipes/{name}.py has no function {name}(); add ``def {name}() -> Experiment``")
        found[name] = recipe
    return found
