"""Operators on bits in terms of arithmetic, which has bounds, where that is the same; and shifts by any count
in terms of shifts by what a machine can shift by."""

from __future__ import annotations

from . import algebra as al
from .interval import interval
from .limits import MOST_SHIFT
from .nodes import Call, Const, Expr, integer

#: The largest power of two that is a 32-bit integer.
MOST_POWER = 30


def plain(e: Expr) -> Expr:
    """The node ``e``, its arguments being plain, as it is computed.

    ``x >> 5`` is ``x // 32``, ``x << 5`` is ``x * 32`` and ``x & 31`` is ``x % 32``, each exactly. A count
    that is not proved to lie in 0 … 31 is looked at first: by any other the result is 0.
    """
    if not isinstance(e, Call):
        return e
    if e.op in ("shift_left", "shift_right"):
        a, n = e.args
        count = al.constant(n)
        if count is not None and 0 <= count <= MOST_POWER:
            power = integer(1 << count)
            return al.mul(a, power) if e.op == "shift_left" else al.floordiv(a, power)
        if _is_count(n):
            return e
        inside = al.both(al.compare("ge", n, integer(0)), al.compare("le", n, integer(MOST_SHIFT)))
        shifted = Call(e.op, (a, al.where(inside, n, integer(0))), "int")
        return al.where(inside, shifted, integer(0))
    if e.op == "bit_and":
        for a, b in (e.args, e.args[::-1]):
            if isinstance(b, Const) and b.value > 0 and int(b.value) & (int(b.value) + 1) == 0:
                return e if int(b.value) >> MOST_POWER else al.mod(a, integer(int(b.value) + 1))
    return e


def _is_count(n: Expr) -> bool:
    low, high = interval(n, {})
    known = low is not None and high is not None
    return known and al.at_most(integer(0), low) and al.at_most(high, integer(MOST_SHIFT))


def spread(e: Call) -> Expr:
    """Whether two conditions are alike, or not, in terms of both, either and not."""
    a, b = e.args
    either = al.either(al.both(a, al.negate(b)), al.both(al.negate(a), b))
    return al.negate(either) if e.op == "iff" else either


#: The operators that ``spread`` takes apart.
ALIKE = ("iff", "xor", "unlike")
