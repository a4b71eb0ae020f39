"""What networks and rules become at a cost that is held: planned, and refused where they cannot have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import reconfig
from reconfig.harness.data.dataset import Dataset
from reconfig.harness.jobs.network import IDENTITY, cost, plan_network
from reconfig.harness.sweep import HELD, Compare, Configuration, Held

Planned = dict[Configuration, reconfig.Plan]
"""Configurations in their order, each with what its network becomes."""


class HeldError(reconfig.ReconfigError):
    """Rules that cannot have what is held."""


def at_the_firsts(configurations: Sequence[Configuration], held: Held, dataset: Dataset) -> Planned:
    """The configurations with as much of ``held`` as the first has.

    Raises:
        ReconfigError: One of its subclasses, where a network cannot be built or have that.
    """
    first, *others = configurations
    plans = {first: plan_network(first.network, dataset)}
    for other in others:
        network = replace(other.network, rule=other.network.rule or IDENTITY, budget=(held, cost(plans[first], held)))
        plans[replace(other, network=network)] = plan_network(network, dataset)
    return plans


def rules_at_cost(compare: Compare, dataset: Dataset) -> Planned:
    """The networks of a comparison of rules, each once: those of several rules answer for all of them.

    Raises:
        HeldError: Where rules do not fit the network or do not come near what is held; it names each, and why.
        ReconfigError: One of its other subclasses, where the network itself cannot be built.
    """
    original, *asked = compare.configurations()
    planned: Planned = {original: plan_network(original.network, dataset)}
    refused = []
    for each in asked:
        ((rule, held),) = each.answers
        budget = cost(planned[next(iter(planned))], held)
        solved = replace(each, network=replace(each.network, budget=(held, budget)))
        try:
            plan = plan_network(solved.network, dataset)
        except reconfig.ReconfigError as error:
            refused.append(f"{rule!r} with the {HELD[held]} held ({error})")
            continue
        off = cost(plan, held) / budget - 1
        if abs(off) > compare.within:
            refused.append(
                f"{rule!r} with the {HELD[held]} held (the nearest has {cost(plan, held):,} for {budget:,},"
                f" {off:+.1%}; --within {abs(off) + 0.001:.3f} takes it)"
            )
            continue
        same = next((known for known, other in planned.items() if other.after == plan.after), None)
        if same is None:
            planned[solved] = plan
        else:
            answers = (*same.answers, *each.answers)
            planned = {replace(old, answers=answers) if old is same else old: of for old, of in planned.items()}
    if refused:
        raise HeldError(
            f"{len(refused)} of {len(asked)} rules for {compare.network} cannot be compared: {'; '.join(refused)}."
            " Leave them out of --rules, or give others"
        )
    return planned
