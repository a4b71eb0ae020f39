"""Scale, rewrite the skeleton, run it again and compare, until the network does what the plan says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain
from os.path import basename

from reconfig.errors import VerifyError
from reconfig.planning.budget import Target, meet, meet_roughly
from reconfig.planning.counts import Counts
from reconfig.planning.reading import Reading
from reconfig.planning.scaling import Scaling
from reconfig.rewrite.computed import Computed, common_multiples, computed_numbers
from reconfig.rewrite.fresh import failing_resets
from reconfig.rewrite.repair import downstream, literal_reason, stale_numbers, upstream
from reconfig.rewrite.steady import first_unsteady
from reconfig.rewrite.surgery import AttributeEdit, attribute_edits, resize, set_numbers
from reconfig.rewrite.verify import Mismatch, first_mismatch
from reconfig.rule import Rule
from reconfig.trace.record import Shape
from reconfig.trace.skeleton import within
from reconfig.widths.algebra import Extent, parts
from reconfig.widths.reasons import FrozenKind, Reason
from reconfig.widths.site import describe
from reconfig.widths.structure import Attribute, Sizes


@dataclass(frozen=True)
class Agreement:
    """Sizes that the rewritten skeleton was seen to follow.

    Attributes:
        gamma: given or solved.
        sizes: channels of every free width.
        shapes: of every parameter and buffer.
        attributes: the numbers that modules keep, with their new values.
        kept: the widths that keep their size, and why.
        divisors: what each width is a multiple of.
    """

    gamma: float
    sizes: Sizes
    shapes: dict[str, Shape]
    attributes: tuple[AttributeEdit, ...]
    kept: dict[int, Reason]
    divisors: Sequence[int]


def agree(
    reading: Reading, rule: Rule, gamma: float, target: Target | None, counts: Counts, kept: Mapping[int, Reason]
) -> Agreement:
    """The sizes that ``rule`` gives to the widths of a model, and that its rewritten skeleton was seen to follow.

    ``kept`` are the widths that keep their size whatever the rule. Every round either finds numbers that modules keep
    and that must follow, or keeps further widths, or meets the budget anew with those that are left; so it ends.
    ``reading.skeleton`` has the new shapes afterwards.

    Raises:
        BudgetError: where no gamma meets the target.
        VerifyError: where a call differs from the plan and no width or number explains it.
    """
    structure = reading.structure
    repairs = _Repairs(reading, kept)
    failing = failing_resets(reading.skeleton)
    exact = True  # whether the budget is met as near as can be, which takes long: after a repair not before all agrees
    while True:
        scaling = Scaling(reading, rule, repairs.kept, repairs.divisors)
        if target is not None:
            count = counts.params if target.unit == "params" else counts.flops
            gamma, sizes = (meet if exact else meet_roughly)(count, scaling, target)
        else:
            sizes = scaling(gamma)
        shapes = {
            name: tuple(structure.widths.size(extent, sizes) for extent in dims)
            for name, dims in structure.params.items()
        }
        kept_numbers = [*structure.attributes, *repairs.made]
        edits = attribute_edits(reading.skeleton, kept_numbers, structure.widths, sizes)
        resize(reading.skeleton, shapes, edits)
        mismatch = _first_mismatch(reading, sizes, repairs.followed)
        own_lengths = failing_resets(reading.skeleton) - failing if mismatch is None else set()
        agrees = mismatch is None and not own_lengths
        if agrees and exact:
            return Agreement(gamma, sizes, shapes, edits, repairs.kept, repairs.divisors)
        if mismatch is not None:
            repairs.answer(*mismatch, sizes, edits)
        elif own_lengths:
            repairs.keep_of_modules(own_lengths)
        exact = agrees or target is None
        set_numbers(reading.skeleton, {(edit.path, edit.name): edit.old for edit in edits})


def _first_mismatch(reading: Reading, sizes: Sizes, followed: Sequence[int | None]) -> tuple[int, Mismatch] | None:
    for number, (original, stop) in enumerate(zip(reading.structure.captures, followed, strict=True)):
        mismatch = first_mismatch(reading.skeleton, reading.structure, original, sizes, stop)
        if mismatch is not None:
            return number, mismatch
    return None


class _Repairs:
    """What is done about calls that do not follow the plan: a number is corrected, or widths stay as they are.

    Attributes:
        kept: the widths that stay, and why.
        divisors: what each width has to be a multiple of.
        made: the numbers that turned out to follow a width.
        followed: up to which node each capture is followed; None is to its end.
    """

    def __init__(self, reading: Reading, kept: Mapping[int, Reason]) -> None:
        self.kept = dict(kept)
        self.divisors = list(reading.structure.widths.divisors)
        self._from_the_start = kept
        self.made: list[Attribute] = []
        self.followed: list[int | None] = [None] * len(reading.structure.captures)
        self._reading = reading
        self._wrong: set[Attribute] = set()

    def answer(self, number: int, mismatch: Mismatch, sizes: Sizes, edits: Sequence[AttributeEdit]) -> None:
        structure = self._reading.structure
        captured = structure.captures[number]
        if mismatch.another_way and self._stop_at_read(number, mismatch):
            return
        if not mismatch.changes and self._stop_where_values_count(number, mismatch, edits):
            return
        known = {*structure.attributes, *self.made, *self._wrong}
        stale = stale_numbers(self._reading.skeleton, structure, captured, mismatch, sizes)
        found = [attribute for attribute in stale if attribute not in known]
        if found:
            self.made.extend(sorted(found, key=lambda attribute: (attribute.path, attribute.name)))
            return
        computed = computed_numbers(structure, captured, mismatch, sizes)
        if self._round_alike(computed):
            return
        extents = [extent for _, extent in mismatch.changes]
        if not extents and not computed:
            # No width around this call changes, so a number was corrected that has nothing to do with widths.
            wrong = [attribute for attribute in self.made if attribute.path == mismatch.node.meta["path"]]
            self.made = [attribute for attribute in self.made if attribute not in wrong]
            self._wrong.update(wrong)
            extents = [attribute.extent for attribute in wrong] or upstream(structure, captured, mismatch, sizes)
            if not extents and mismatch.error is not None:
                extents = downstream(structure, captured, mismatch, sizes)
        extents += [each.source for each in computed]
        if not self._keep(extents, literal_reason(mismatch)) and not self._stop_at_read(number, mismatch):
            name = type(self._reading.skeleton).__name__
            raise VerifyError(f"the rewritten {name} does not run as planned: {mismatch}")

    def keep_of_modules(self, paths: Set[str]) -> None:
        """Keep the tensors of modules that make them in lengths of their own, whenever they are drawn anew.

        Raises:
            VerifyError: where nothing is left to keep.
        """
        structure, name = self._reading.structure, type(self._reading.skeleton).__name__
        # Whoever asks the modules inside to draw theirs anew fails where they do, and is kept where that does not help.
        inner = {path for path in paths if not any(other != path and within(other, path) for other in paths)}
        for chosen in (inner, paths):
            before = len(self.kept)
            for path in sorted(chosen):
                own = [dims for tensor, dims in structure.params.items() if within(tensor, path)]
                said = f"reset_parameters of {path or name} makes tensors of its own length"
                self._keep([*chain.from_iterable(own)], Reason(FrozenKind.CALL, said))
            if len(self.kept) > before:
                return
        said = ", ".join(path or "the model itself" for path in sorted(paths))
        raise VerifyError(f"reset_parameters of {said} fails in the rewritten {name}")

    def _round_alike(self, computed: Sequence[Computed]) -> bool:
        """Let widths and the numbers that are computed from others be multiples alike; whether they were not."""
        before, structure = list(self.divisors), self._reading.structure
        for each in computed:
            for width, divisor in common_multiples(each, self.divisors, structure, self.kept.keys()).items():
                self.divisors[width] = divisor
        return self.divisors != before

    def _stop_at_read(self, number: int, mismatch: Mismatch) -> bool:
        """Keep all widths behind the last value that was read before a mismatch; whether one was.

        The forward goes by that value, and another time it may go another way: which has to find the widths it knows.
        """
        captured = self._reading.structure.captures[number]
        at = captured.nodes.index(mismatch.node)
        read = next((read for read in reversed(captured.reads) if read.position <= at), None)
        if read is None or self.followed[number] is not None:
            return False
        where = f"{basename(read.source[0])}:{read.source[1]}"
        self._stop(
            number, read.position, f"what the forward does next depends on a value, read by {read.call} at {where}"
        )
        return True

    def _stop_where_values_count(self, number: int, mismatch: Mismatch, edits: Sequence[AttributeEdit]) -> bool:
        """The same behind the first call that gives another number of entries for other weights; whether one does.

        As a selection by scores does. It shows where the original runs on the values that the rewritten skeleton has.
        """
        captured = self._reading.structure.captures[number]
        if captured.inputs[0].is_meta or self.followed[number] is not None:
            return False
        call = first_unsteady(self._reading.skeleton, self._reading.structure, captured, edits)
        if call is None or captured.nodes.index(call) > captured.nodes.index(mismatch.node):
            return False
        self._stop(
            number, captured.nodes.index(call), f"how many entries there are depends on values: {describe(call)}"
        )
        return True

    def _stop(self, number: int, position: int, why: str) -> None:
        """Follow a capture up to a node only, and keep the widths behind."""
        self.followed[number] = position
        behind = [
            extent
            for node in self._reading.structure.captures[number].nodes[position:]
            for value in self._reading.structure.values_at(node)
            for extent in value.dims
        ]
        self.kept = dict(self._from_the_start)  # what was kept on the way here has this reason
        self._keep(behind, Reason(FrozenKind.CALL, why))

    def _keep(self, extents: Sequence[Extent], reason: Reason) -> bool:
        """Keep the widths of these extents; whether there is one among them that was not kept."""
        before = len(self.kept)
        for extent in extents:
            for part in parts(self._reading.structure.widths.resolve(extent)):
                self.kept.setdefault(part.width, reason)
        return len(self.kept) > before
