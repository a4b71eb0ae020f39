from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from reconfig.widths.algebra import Extent, Part, const, constant, parts
from reconfig.widths.reasons import FrozenKind, Reason
from reconfig.widths.solver import Widths


def grown(widths: Widths, factor: int = 2) -> dict[int, int]:
    """Every free width that may change, times ``factor``."""
    return {width: widths.sizes[width] * (1 if width in widths.frozen else factor) for width in widths.free()}


def why(text: str) -> Reason:
    return Reason(FrozenKind.CALL, text)


def sized(widths: Widths, **new: int) -> dict[int, int]:
    """The model's own sizes, but for the widths of these numbers (``w3=7``)."""
    return {width: widths.sizes[width] for width in widths.free()} | {int(name[1:]): n for name, n in new.items()}


# -- single steps


def test_fresh_widths_are_counted_and_one_is_a_constant() -> None:
    widths = Widths()
    extent = widths.fresh(16)
    assert extent == ((Part(0),),)
    assert widths.size(extent) == 16
    assert widths.free() == [0]
    assert widths.fresh(1) == const(1)
    assert widths.free() == [0]


def test_tie_makes_two_widths_one() -> None:
    widths = Widths()
    a, b, c = (widths.fresh(16) for _ in range(3))
    widths.tie(a, b, why("add"))
    widths.tie(b, c, why("add"))
    assert widths.resolve(a) == widths.resolve(b) == widths.resolve(c)
    assert len(widths.free()) == 1
    assert widths.size(c, sized(widths, w0=5)) == 5


def test_tie_of_unequal_lengths_is_refused() -> None:
    widths = Widths()
    with pytest.raises(ValueError, match=r"cannot tie 16 to 8: add at net\.py:3"):
        widths.tie(widths.fresh(16), widths.fresh(8), why("add at net.py:3"))


def test_tie_to_a_constant_freezes() -> None:
    widths = Widths()
    a = widths.fresh(16)
    widths.tie(a, const(16), why("add"))
    assert widths.frozen == {0: why("add")}


def test_tie_of_a_width_to_a_concat_makes_it_the_concat() -> None:
    widths = Widths()
    a, b, whole = widths.fresh(3), widths.fresh(5), widths.fresh(8)
    widths.tie(whole, (*a, *b), why("add"))
    assert widths.resolve(whole) == (*a, *b)
    assert widths.size(whole, sized(widths, w0=10)) == 15


def test_tie_of_a_width_to_equal_pieces_keeps_it_whole_and_even() -> None:
    widths = Widths()
    whole, a, b = widths.fresh(16), widths.fresh(8), widths.fresh(8)
    widths.tie(whole, (*a, *b), why("factorized reduction"))
    assert widths.free() == [0]
    assert widths.divisors[0] == 2
    assert widths.size(a, sized(widths, w0=6)) == widths.size(b, sized(widths, w0=6)) == 3


def test_tie_of_two_concats_cut_alike_ties_piece_by_piece() -> None:
    widths = Widths()
    a, b, c, d = (widths.fresh(size) for size in (3, 5, 3, 5))
    widths.tie((*a, *b), (*c, *d), why("add"))
    assert widths.resolve(c) == a
    assert widths.resolve(d) == b


def test_tie_of_two_concats_cut_differently_cuts_further() -> None:
    widths = Widths()
    a, b, c, d = (widths.fresh(size) for size in (6, 4, 3, 7))
    widths.tie((*a, *b), (*c, *d), why("add"))
    for sizes in (sized(widths), grown(widths), grown(widths, 3)):
        assert widths.size((*a, *b), sizes) == widths.size((*c, *d), sizes)
    assert widths.size((*a, *b), grown(widths)) == 20
    assert not widths.frozen


def test_follow_leaves_the_pieces_of_a_concat_independent() -> None:
    widths = Widths()
    a, b, own = widths.fresh(8), widths.fresh(8), widths.fresh(16)
    widths.adopt(own, (*a, *b), why("conv"))
    assert widths.resolve(own) == (*a, *b)
    assert widths.size(own, sized(widths, w0=2)) == 10


def test_follow_of_a_constant_freezes() -> None:
    widths = Widths()
    own = widths.fresh(16)
    widths.adopt(own, const(16), why("conv"))
    assert widths.frozen == {0: why("conv")}


def test_follow_of_itself_changes_nothing() -> None:
    widths = Widths()
    own = widths.fresh(16)
    widths.adopt(own, own, why("conv"))
    assert widths.free() == [0]
    assert not widths.frozen


def test_cut_into_equal_pieces_halves() -> None:
    widths = Widths()
    whole = widths.fresh(16)
    first, second = widths.cut(whole, [8, 8], why("chunk"))
    assert first == second == ((Part(0, 2),),)
    assert widths.divisors[0] == 2


def test_cut_into_unequal_pieces_makes_new_widths() -> None:
    widths = Widths()
    whole = widths.fresh(16)
    first, second = widths.cut(whole, [4, 12], why("split"))
    assert [widths.size(first), widths.size(second)] == [4, 12]
    (a,), (b,) = parts(first), parts(second)
    assert widths.resolve(whole) == (*first, *second)
    assert widths.size(whole, sized(widths, **{f"w{a.width}": 5, f"w{b.width}": 6})) == 11


def test_cut_between_the_terms_of_a_concat_is_free() -> None:
    widths = Widths()
    a, b = widths.fresh(3), widths.fresh(5)
    assert widths.cut((*a, *b), [3, 5], why("split")) == [a, b]
    assert widths.free() == [0, 1]
    assert widths.divisors == [1, 1]


def test_cut_across_the_terms_of_a_concat() -> None:
    widths = Widths()
    a, b = widths.fresh(4), widths.fresh(6)
    pieces = widths.cut((*a, *b), [2, 5, 3], why("split"))
    assert [widths.size(piece) for piece in pieces] == [2, 5, 3]
    for sizes in (grown(widths), grown(widths, 3)):
        assert sum(widths.size(piece, sizes) for piece in pieces) == widths.size((*a, *b), sizes)


def test_cut_of_a_constant_is_constant() -> None:
    widths = Widths()
    assert widths.cut(const(7), [3, 4], why("split")) == [const(3), const(4)]


def test_cut_unequally_of_what_must_stay_divisible_freezes() -> None:
    widths = Widths()
    whole = widths.fresh(16)
    widths.divisible(whole, 4)
    assert widths.cut(whole, [4, 12], why("split")) == [const(4), const(12)]
    assert widths.frozen == {0: why("split")}


def test_multiply_flattens() -> None:
    widths = Widths()
    flat = widths.multiply([widths.fresh(16), const(7), const(7)])
    assert flat == ((Part(0), 49),)
    assert widths.size(flat, {0: 5}) == 245


def test_multiply_of_a_concat_flattens_each_term() -> None:
    widths = Widths()
    a, b = widths.fresh(3), widths.fresh(5)
    assert widths.multiply([(*a, *b), const(4)]) == ((Part(0), 4), (Part(1), 4))
    assert widths.multiply([const(2), (*a, *b)]) == (*a, *b, *a, *b)


def test_multiply_of_two_concats_cannot_be_said() -> None:
    widths = Widths()
    concat = (*widths.fresh(3), *widths.fresh(5))
    assert widths.multiply([concat, concat]) is None


def test_divide_comes_out_of_the_numbers_first() -> None:
    widths = Widths()
    a = widths.fresh(6)
    flat = widths.multiply([a, const(4)])
    assert flat is not None
    assert widths.divide(flat, 4, why("groups")) == a
    assert widths.divisors == [1]
    assert widths.divide(a, 3, why("groups")) == ((Part(0, 3),),)
    assert widths.divisors == [3]


def test_a_divisor_asks_no_more_than_the_numbers_leave() -> None:
    widths = Widths()
    flat = widths.multiply([widths.fresh(14), const(2)])
    assert flat is not None
    widths.divide(flat, 4, why("groups"))
    assert widths.divisors == [2]


def test_divisors_add_up_and_move_on() -> None:
    widths = Widths()
    a, b = widths.fresh(24), widths.fresh(24)
    widths.divisible(b, 4)
    widths.divisible(b, 6)
    widths.tie(a, b, why("add"))
    assert widths.free() == [0]
    assert widths.divisors[0] == 12


@pytest.mark.parametrize("order", ["freeze first", "tie first"])
def test_frozen_moves_on_and_the_first_reason_stays(order: str) -> None:
    widths = Widths()
    a, b = widths.fresh(16), widths.fresh(16)
    steps = [lambda: widths.freeze(b, why("literal")), lambda: widths.tie(a, b, why("add"))]
    for step in steps if order == "freeze first" else reversed(steps):
        step()
    widths.freeze(a, why("later"))
    assert widths.frozen == {0: why("literal")}


def test_pin_makes_constants() -> None:
    widths = Widths()
    kernel = widths.fresh(3)
    widths.pin(kernel)
    assert widths.resolve(kernel) == const(3)
    assert widths.free() == []


def test_a_size_that_is_not_whole_is_an_error() -> None:
    widths = Widths()
    half = widths.divide(widths.fresh(16), 2, why("groups"))
    with pytest.raises(ValueError, match="is not whole for"):
        widths.size(half, {0: 7})


def test_divide_of_a_concat_whose_terms_are_odd() -> None:
    widths = Widths()
    quarter = widths.divide((*widths.fresh(3), *widths.fresh(5)), 2, why("groups"))
    assert widths.size(quarter) == 4


def test_divide_of_a_concat_with_a_constant_term() -> None:
    widths = Widths()
    half = widths.divide((*const(1), *widths.fresh(7)), 2, why("groups"))
    assert widths.size(half) == 4


# -- anything, in any order


@dataclass
class World:
    """A random model's equations, with what must hold of them ever after."""

    widths: Widths = field(default_factory=Widths)
    made: list[tuple[Extent, int]] = field(default_factory=list)
    equal: list[tuple[Extent, Extent]] = field(default_factory=list)
    sums: list[tuple[Extent, list[Extent]]] = field(default_factory=list)
    products: list[tuple[Extent, Extent, Extent]] = field(default_factory=list)
    ratios: list[tuple[Extent, Extent, int]] = field(default_factory=list)
    constant: list[tuple[Extent, int]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def add(self, extent: Extent) -> Extent:
        self.made.append((extent, self.widths.size(extent)))
        return extent

    def check(self, sizes: dict[int, int] | None) -> None:
        size = self.widths.size
        for left, right in self.equal:
            assert size(left, sizes) == size(right, sizes)
        for whole, pieces in self.sums:
            assert size(whole, sizes) == sum(size(piece, sizes) for piece in pieces)
        for whole, piece, divisor in self.ratios:
            assert size(whole, sizes) == divisor * size(piece, sizes)
        for whole, left, right in self.products:
            assert size(whole, sizes) == size(left, sizes) * size(right, sizes)
        for extent, old in self.constant:
            assert size(extent, sizes) == old

    def check_unchanged(self) -> None:
        """No step changes what anything measures with the model's own sizes."""
        own = {width: self.widths.sizes[width] for width in self.widths.free()}
        for extent, old in self.made:
            assert self.widths.size(extent) == old
            assert self.widths.size(extent, own) == old


def partition(draw: st.DrawFn, total: int) -> list[int]:
    cuts = sorted(draw(st.sets(st.integers(1, total - 1), max_size=3))) if total > 1 else []
    return [stop - start for start, stop in zip([0, *cuts], [*cuts, total], strict=True)]


def step(draw: st.DrawFn, world: World) -> None:
    widths = world.widths
    kind = draw(
        st.sampled_from(
            "fresh concat flatten repeat product divide cut chunk tie adopt mirror recut freeze pin divisible".split()
        )
    )
    world.log.append(kind)
    if kind == "fresh" or not world.made:
        world.add(widths.fresh(draw(st.integers(1, 24))))
        return
    extent = draw(st.sampled_from(world.made))[0]
    size = widths.size(extent)
    if kind == "concat":
        other = draw(st.sampled_from(world.made))[0]
        if size + widths.size(other) < 200:
            both = (*widths.resolve(extent), *widths.resolve(other))
            world.sums.append((world.add(both), [extent, other]))
    elif kind in ("flatten", "repeat") and size < 200:
        times = draw(st.integers(2, 4))
        factors = [extent, const(times)] if kind == "flatten" else [const(times), extent]
        flat = widths.multiply(factors)
        if flat is not None:
            world.ratios.append((world.add(flat), extent, times))
    elif kind == "product":
        other = draw(st.sampled_from(world.made))[0]
        whole = widths.multiply([extent, other]) if size * widths.size(other) < 400 else None
        if whole is not None:
            world.products.append((world.add(whole), extent, other))
    elif kind == "divide":
        terms = [widths.size((term,)) for term in widths.resolve(extent)]
        divisors = [d for d in (2, 3, 4, 6) if all(term % d == 0 for term in terms)]
        if divisors:
            divisor = draw(st.sampled_from(divisors))
            world.ratios.append((extent, world.add(widths.divide(extent, divisor, why("groups"))), divisor))
    elif kind == "cut":
        pieces = widths.cut(extent, partition(draw, size), why(kind))
        world.sums.append((extent, [world.add(piece) for piece in pieces]))
    elif kind == "chunk":
        count = draw(st.integers(2, 4))
        if size % count == 0:
            pieces = widths.cut(extent, [size // count] * count, why(kind))
            world.sums.append((extent, [world.add(piece) for piece in pieces]))
    elif kind in ("tie", "adopt"):
        same = [other for other, length in world.made if length == size and other != extent]
        other = draw(st.sampled_from(same)) if same else widths.fresh(size)
        getattr(widths, kind)(other, extent, why(kind))
        world.equal.append((world.add(other), extent))
    elif kind == "mirror":
        other = world.add(widths.fresh(size))
        widths.adopt(other, extent, why(kind))
        world.equal.append((other, extent))
    elif kind == "recut":
        other = tuple(term for length in partition(draw, size) for term in widths.fresh(length))
        widths.tie(world.add(other), extent, why(kind))
        world.equal.append((other, extent))
    elif kind == "divisible":
        terms = [widths.size((term,)) for term in widths.resolve(extent)]
        if all(term % 2 == 0 for term in terms):
            widths.divisible(extent, 2)
    elif kind == "freeze":
        widths.freeze(extent, why(kind))
        world.constant.append((extent, size))
    elif kind == "pin" and draw(st.integers(0, 9)) == 0:
        widths.pin(extent)
        world.constant.append((extent, size))


@given(st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_equations_hold_under_any_sizes(data: st.DataObject) -> None:
    """Ties hold, frozen widths stay, nothing changes what the model measures as it is: whatever the order of steps."""
    world = World()
    for _ in range(data.draw(st.integers(2, 14), label="steps")):
        step(data.draw, world)  # type: ignore[arg-type]
        world.check_unchanged()
    widths = world.widths
    world.check(None)
    sizes = {
        width: widths.sizes[width]
        if width in widths.frozen
        else widths.divisors[width] * data.draw(st.integers(1, 5), label=f"width {width}")
        for width in widths.free()
    }
    world.check(sizes)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.lists(st.integers(1, 12), min_size=1, max_size=5))
@settings(deadline=None)
def test_two_concats_of_any_cuts_stay_equal(first: list[int], second: list[int]) -> None:
    # Doubled: a piece of one channel is a constant, which would not grow.
    shorter, longer = sorted(([2 * size for size in cuts] for cuts in (first, second)), key=sum)
    shorter = [*shorter, sum(longer) - sum(shorter)] if sum(shorter) < sum(longer) else shorter
    widths = Widths()
    left, right = (tuple(term for size in cuts for term in widths.fresh(size)) for cuts in (shorter, longer))
    widths.tie(left, right, why("add"))
    assert widths.size(left) == widths.size(right) == sum(longer)
    sizes = grown(widths, 3)
    assert widths.size(left, sizes) == widths.size(right, sizes)
    if not widths.frozen:
        assert widths.size(left, sizes) == 3 * sum(longer)


@given(st.integers(2, 48), st.integers(1, 6), st.integers(1, 6))
@settings(deadline=None)
def test_grouped_and_flattened_round_trip(size: int, groups: int, positions: int) -> None:
    widths = Widths()
    extent = widths.fresh(size * groups)
    flat = widths.multiply([widths.divide(extent, groups, why("groups")), const(positions)])
    assert flat is not None
    sizes = {0: widths.divisors[0] * 3}
    assert widths.size(flat, sizes) * groups == widths.size(extent, sizes) * positions
    assert not constant(flat)
