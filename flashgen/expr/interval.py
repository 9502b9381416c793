"""Intervals of expressions, with symbolic ends: the proof rules behind loop bounds.

An interval of an int expression is (lowest, highest), each an expression or None for unknown. Of a
bool expression it is (certain, possible): False < True, so the lowest value is "true everywhere" and
the highest is "true somewhere". Floats have no intervals here: rounding would make them unsound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from . import algebra as al
from .nodes import FALSE, TRUE, Call, Const, Expr, Read, Var, integer, larger_than

Interval: TypeAlias = tuple[Expr | None, Expr | None]
Rule: TypeAlias = Callable[..., Interval]
UNKNOWN: Interval = (None, None)
UNDECIDED: Interval = (FALSE, TRUE)
#: An end with more nodes is given up as unknown: nested rules would double it at every level.
MOST_NODES = 64


def _both(f: Callable[[Expr, Expr], Expr], a: Expr | None, b: Expr | None) -> Expr | None:
    return None if a is None or b is None else f(a, b)


def add(a: Interval, b: Interval) -> Interval:
    return _both(al.add, a[0], b[0]), _both(al.add, a[1], b[1])


def sub(a: Interval, b: Interval) -> Interval:
    return _both(al.sub, a[0], b[1]), _both(al.sub, a[1], b[0])


def neg(a: Interval) -> Interval:
    return (
        None if a[1] is None else al.neg(a[1]),
        None if a[0] is None else al.neg(a[0]),
    )


def _literal(a: Interval) -> int | None:
    return al.constant(a[0]) if a[0] is not None and a[0] == a[1] else None


def mul(a: Interval, b: Interval) -> Interval:
    for x, y in ((a, b), (b, a)):
        c = _literal(x)
        if c is not None:
            ends = [None if e is None else al.mul(integer(c), e) for e in y]
            return (ends[0], ends[1]) if c >= 0 else (ends[1], ends[0])
    if all(x[0] is not None and x[0] == x[1] for x in (a, b)):
        return (_both(al.mul, a[0], b[0]),) * 2
    return UNKNOWN


def floordiv(a: Interval, b: Interval) -> Interval:
    c = _literal(b)
    if not c:
        return UNKNOWN
    if c < 0:
        return floordiv(neg(a), (integer(-c), integer(-c)))
    ends = [None if e is None else al.floordiv(e, integer(c)) for e in a]
    return ends[0], ends[1]


def mod(a: Interval, b: Interval) -> Interval:
    c = _literal(b)
    if not c or c < 0:
        return UNKNOWN
    if a[0] is not None and a[0] == a[1]:
        r = al.mod(a[0], integer(c))
        return r, r
    return integer(0), integer(c - 1)


def bit_and(a: Interval, b: Interval) -> Interval:
    """Between 0 and a side that is never negative."""
    ends = [x[1] for x in (a, b) if x[0] is not None and al.non_negative(x[0])]
    known = [e for e in ends if e is not None]
    return integer(0) if ends else None, known[0] if known else None


def bit_not(a: Interval) -> Interval:
    return sub(neg(a), (integer(1), integer(1)))


def _power(n: Interval) -> Interval | None:
    """Two to the power of a count that is a literal."""
    c = _literal(n)
    return (integer(2**c),) * 2 if c is not None and 0 <= c < 31 else None


def shift_left(a: Interval, n: Interval) -> Interval:
    power = _power(n)
    return mul(a, power) if power else UNKNOWN


def shift_right(a: Interval, n: Interval) -> Interval:
    power = _power(n)
    return floordiv(a, power) if power else UNKNOWN


def minimum(a: Interval, b: Interval) -> Interval:
    hi = a[1] if b[1] is None else b[1] if a[1] is None else al.minimum(a[1], b[1])
    return _both(al.minimum, a[0], b[0]), hi


def maximum(a: Interval, b: Interval) -> Interval:
    lo = a[0] if b[0] is None else b[0] if a[0] is None else al.maximum(a[0], b[0])
    return lo, _both(al.maximum, a[1], b[1])


def absolute(a: Interval) -> Interval:
    lo, hi = maximum(a, neg(a))
    return al.maximum(lo, integer(0)) if lo is not None else integer(0), hi


def where(c: Interval, a: Interval, b: Interval) -> Interval:
    return _both(al.minimum, a[0], b[0]), _both(al.maximum, a[1], b[1])


def same(a: Interval) -> Interval:
    return a


def as_int(a: Interval) -> Interval:
    return integer(0), integer(1)


def _holds(op: str, a: Expr | None, b: Expr | None, otherwise: Expr) -> Expr:
    return otherwise if a is None or b is None else al.compare(op, a, b)


def less(a: Interval, b: Interval) -> Interval:
    return _holds("lt", a[1], b[0], FALSE), _holds("lt", a[0], b[1], TRUE)


def less_equal(a: Interval, b: Interval) -> Interval:
    return _holds("le", a[1], b[0], FALSE), _holds("le", a[0], b[1], TRUE)


def greater(a: Interval, b: Interval) -> Interval:
    return less(b, a)


def greater_equal(a: Interval, b: Interval) -> Interval:
    return less_equal(b, a)


def equal(a: Interval, b: Interval) -> Interval:
    below, above = less_equal(a, b), less_equal(b, a)
    return al.both(below[0] or FALSE, above[0] or FALSE), al.both(below[1] or TRUE, above[1] or TRUE)


def not_equal(a: Interval, b: Interval) -> Interval:
    return logical_not(equal(a, b))


def logical_and(a: Interval, b: Interval) -> Interval:
    return al.both(a[0] or FALSE, b[0] or FALSE), al.both(a[1] or TRUE, b[1] or TRUE)


def logical_or(a: Interval, b: Interval) -> Interval:
    return al.either(a[0] or FALSE, b[0] or FALSE), al.either(a[1] or TRUE, b[1] or TRUE)


def logical_not(a: Interval) -> Interval:
    return al.negate(a[1] or TRUE), al.negate(a[0] or FALSE)


def logical_xor(a: Interval, b: Interval) -> Interval:
    return logical_or(logical_and(a, logical_not(b)), logical_and(logical_not(a), b))


def logical_iff(a: Interval, b: Interval) -> Interval:
    return logical_not(logical_xor(a, b))


def interval(e: Expr, known: Mapping[str, Interval]) -> Interval:
    """The interval of ``e`` given intervals of some variables; other variables stand for themselves.

    A read whose indices are single points is a point itself; any other read is unknown.
    """
    from .ops import OPS

    if e.type == "float":
        return UNKNOWN
    unknown = UNDECIDED if e.type == "bool" else UNKNOWN
    if isinstance(e, Const):
        return e, e
    if isinstance(e, Var):
        return known.get(e.name, (e, e))
    parts = [interval(c, known) for c in (e.index if isinstance(e, Read) else e.args)]
    if isinstance(e, Read):
        if all(p[0] is not None and p[0] == p[1] for p in parts):
            point = Read(e.name, tuple(p[0] for p in parts if p[0] is not None), e.type)
            return point, point
        return unknown
    assert isinstance(e, Call)
    rule = OPS[e.op].interval
    if rule is None or any(a.type == "float" for a in e.args):
        return unknown
    lowest, highest = rule(*parts)
    return (
        unknown[0] if lowest is not None and larger_than(lowest, MOST_NODES) else lowest,
        unknown[1] if highest is not None and larger_than(highest, MOST_NODES) else highest,
    )
