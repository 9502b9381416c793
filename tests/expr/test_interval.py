"""Interval rules are proofs: no value lies outside, whatever the expression."""

from __future__ import annotations

import itertools

from hypothesis import assume, given
from hypothesis import strategies as st

from flashgen.expr.evaluate import Number, evaluate_python
from flashgen.expr.interval import Interval, interval
from flashgen.expr.nodes import Expr, integer

from .strategies import SCOPE, expressions

NAMES = [n for n, t in SCOPE.variables.items() if t == "int"]
#: q and k run over a box; all other variables are points that stand for themselves.
BOXED = ("q", "k")

lengths = st.fixed_dictionaries({n: st.integers(0, 9) for n in NAMES})
boxes = st.fixed_dictionaries({n: st.tuples(st.integers(0, 12), st.integers(0, 5)) for n in BOXED})


def values(e: Expr, point: dict[str, int], box: dict[str, tuple[int, int]]) -> list[Number]:
    """The values of ``e`` over the box."""
    sides = [range(lo, lo + more + 1) for lo, more in (box[n] for n in BOXED)]
    try:
        return [
            evaluate_python(e, {**point, **dict(zip(BOXED, at, strict=True))})
            for at in itertools.product(*sides)
        ]
    except ZeroDivisionError:
        assume(False)
        raise


def bounds(e: Expr, box: dict[str, tuple[int, int]]) -> Interval:
    return interval(e, {n: (integer(lo), integer(lo + more)) for n, (lo, more) in box.items()})


@given(expressions("int", floats=False), lengths, boxes)
def test_every_int_is_between_its_ends(
    e: Expr, point: dict[str, int], box: dict[str, tuple[int, int]]
) -> None:
    seen = values(e, point, box)
    lowest, highest = bounds(e, box)
    if lowest is not None:
        assert evaluate_python(lowest, point) <= min(seen)
    if highest is not None:
        assert evaluate_python(highest, point) >= max(seen)


@given(expressions("bool", floats=False), lengths, boxes)
def test_certain_is_true_and_impossible_is_false(
    e: Expr, point: dict[str, int], box: dict[str, tuple[int, int]]
) -> None:
    seen = values(e, point, box)
    certain, possible = bounds(e, box)
    assert certain is not None
    assert possible is not None
    if evaluate_python(certain, point):
        assert all(seen)
    if not evaluate_python(possible, point):
        assert not any(seen)
