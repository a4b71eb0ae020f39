"""Recipes: one module per study, each with a function of the module's name that returns an ``Experiment``.

To add a recipe, add a file ``mystudy.py`` with ``def mystudy() -> Experiment``; the first line of its docstring
is what ``benchmarks/run.py --help`` shows. There is no list to edit.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from reconfig.harness import Experiment

Recipe = Callable[[], Experiment]


def discover() -> dict[str, Recipe]:
    """All recipes by name, in alphabetical order.

    Raises:
        TypeError: If a module of this folder has no function of its own name.
    """
    recipes: dict[str, Recipe] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        if name == "sweeps":
            continue
        recipe = getattr(importlib.import_module(f"{__name__}.{name}"), name, None)
        if not callable(recipe):
            raise TypeError(f"recipes/{name}.py has no function {name}(); add ``def {name}() -> Experiment``")
        recipes[name] = recipe
    return recipes
