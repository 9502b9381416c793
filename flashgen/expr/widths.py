"""Which parts of an expression take 64 bits, written into it: ``wide(x)`` where a value on the way might not
fit 32, ``narrow(y)`` where it fits them again. So a value is of 64 bits exactly where its extent leaves 32.

One operand is enough: the other follows in Triton as in numpy. A literal follows whatever it meets.
"""

from __future__ import annotations

from .extent import INT32, Known, within
from .nodes import Call, Const, Expr, children, with_children


def is_wide(e: Expr, known: Known) -> bool:
    """Whether the value of the int ``e`` takes 64 bits."""
    return e.type == "int" and not within(known.extent(e), INT32)


def widened(e: Expr, known: Known) -> Expr:
    """``e``, which holds no ``wide`` yet, with 64 bits where its values need them."""
    if not known.leaving(e, INT32):
        return e
    e = with_children(e, tuple(widened(c, known) for c in children(e)))
    if not isinstance(e, Call) or within(known.on_the_way(e), INT32):
        return e
    ints = [a for a in e.args if a.type == "int"]
    values = [a for a in ints if not isinstance(a, Const)]
    if ints and not any(is_wide(a, known) for a in values):
        first = next(iter(values), ints[0])
        at = next(i for i, a in enumerate(e.args) if a is first)
        e = Call(e.op, (*e.args[:at], Call("wide", (first,), "int"), *e.args[at + 1 :]), e.type)
    if e.type == "int" and not is_wide(e, known):
        return Call("narrow", (e,), "int")
    return e
