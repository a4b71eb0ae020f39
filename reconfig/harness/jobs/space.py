"""The rules that a search chooses from: widths of the stages to each other, and blocks where they can be others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import reconfig
from reconfig.harness.jobs.trials import Parameters
from reconfig.harness.network import Budget, Network

WIDEST = 4.0
"""How many times as wide, over its own width, a stage may be as the first; its inverse is the narrowest."""
DEEPEST = 2
"""How many times its own number of blocks a stage may have."""
ALIKE = {"10-10-10": "10-10-10", "10-10-4": "10-10-4"}
"""What every search tries beside the rules that have a name: the network as it is, and the paper's rule."""


Planner = Callable[[Network], reconfig.Plan]
"""Plans a network for the images that are trained on."""


class SpaceError(reconfig.ReconfigError):
    """A network with nothing to search in."""


@dataclass(frozen=True)
class Space:
    """All rules of a network."""

    widths: tuple[int, ...]
    """The stages' own channels."""
    blocks: tuple[int, ...]
    """Their own blocks; 0 in a plain stage."""
    varied: tuple[bool, ...]
    """Whether a stage can have another number of blocks."""

    def distributions(self) -> dict[str, Any]:
        """What each parameter is drawn from, as Optuna has it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        found: dict[str, Any] = {
            f"w{stage}": FloatDistribution(1 / WIDEST, WIDEST, log=True) for stage in range(2, len(self.widths) + 1)
        }
        for stage, (own, varies) in enumerate(zip(self.blocks, self.varied, strict=True), 1):
            if varies:
                found[f"d{stage}"] = IntDistribution(1, DEEPEST * own)
        return found

    def rule(self, parameters: Parameters) -> str:
        """The rule of these parameters; a budget solves its scale."""
        words = []
        depths = [int(parameters.get(f"d{stage}", own)) for stage, own in enumerate(self.blocks, 1)]
        if tuple(depths) != self.blocks:
            words.append("d" + "-".join(map(str, depths)))
        ratios = [1.0, *(parameters[f"w{stage}"] for stage in range(2, len(self.widths) + 1))]
        return " ".join([*words, "w" + ":".join(f"{ratio:.3g}" for ratio in ratios)])

    def point(self, rule: str, plan: reconfig.Plan) -> dict[str, float] | None:
        """The parameters of ``rule``, of which ``plan`` was made; None where they lie outside."""
        ratios = reconfig.Rule.parse(rule).ratios(self.widths)
        found: dict[str, float] = {
            f"w{stage}": float(f"{ratio / ratios[0]:.3g}") for stage, ratio in enumerate(ratios[1:], 2)
        }
        if not all(1 / WIDEST <= ratio <= WIDEST for ratio in found.values()):
            return None
        blocks = [stage.blocks[1] for stage in plan.stages]
        found |= {f"d{stage}": number for stage, number in enumerate(blocks, 1) if self.varied[stage - 1]}
        return found if self.has(blocks) else None

    def has(self, blocks: Sequence[int]) -> bool:
        """Whether stages may have so many blocks."""
        return all(new <= DEEPEST * own for new, own in zip(blocks, self.blocks, strict=True))


def space_of(network: Network, planned: Planner) -> Space:
    """The rules of ``network``.

    Raises:
        SpaceError: If it has one stage only.
        ReconfigError: One of its subclasses, if the network cannot be planned.
    """
    plan = planned(network)
    if len(plan.stages) < 2:
        raise SpaceError(
            f"{network.name} has one stage, whose width the held cost decides: there is nothing to search. Give a"
            " network with more stages; `reconfig stages` shows them"
        )
    blocks = tuple(stage.blocks[0] for stage in plan.stages)
    varied = tuple(_varies(network, planned, blocks, stage) for stage in range(len(blocks)))
    return Space(tuple(stage.width[0] for stage in plan.stages), blocks, varied)


def _varies(network: Network, planned: Planner, blocks: tuple[int, ...], stage: int) -> bool:
    """Whether a stage can have one block, and more than its own."""
    if not blocks[stage]:
        return False
    for number in {1, blocks[stage] + 1}:
        depths = [number if index == stage else own for index, own in enumerate(blocks)]
        try:
            planned(replace(network, rule="d" + "-".join(map(str, depths))))
        except reconfig.ReconfigError:
            return False
    return True


def at_cost(network: Network, rule: str, cost: Budget) -> Network:
    """``network`` by ``rule``, with as much of what is held as ``cost`` says."""
    return Network(network.model, rule, budget=cost)


def published(
    space: Space, network: Network, planned: Planner, cost: Budget
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """The parameters of the published rules by name, and why the others do not fit; of equal ones the first.

    The network itself is the first of them, and "10-10-4" the second.
    """
    found: dict[str, dict[str, float]] = {}
    unfit: dict[str, str] = {}
    for name, rule in (ALIKE | {name: named.rule for name, named in reconfig.NAMED.items()}).items():
        try:
            inside = space.has(reconfig.Rule.parse(rule).depths(len(space.blocks)) or space.blocks)
            point = space.point(rule, planned(at_cost(network, rule, cost))) if inside else None
        except reconfig.ReconfigError as error:
            unfit[name] = str(error)
            continue
        if point is None:
            unfit[name] = f"{rule} lies outside of what is searched"
        elif point not in found.values():
            found[name] = point
    return found, unfit
