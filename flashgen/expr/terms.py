"""Float terms: constructors, and constants folded into the multiplications that are there anyway."""

from __future__ import annotations

import math

from flashgen.expr.limits import FLOAT_LIMIT
from flashgen.expr.nodes import Call, Const, Expr, Read, Var, children, integer, real, walk, with_children

LOG2_E = math.log2(math.e)
LN_2 = math.log(2)
#: The smallest normal number of fp32, in which kernels compute.
FP32_TINY = 2.0**-126
MINUS_INF = real(-math.inf)


def tile(name: str) -> Var:
    """A float tile or scalar in an expression."""
    return Var(name, "float")


def index(name: str) -> Var:
    """An int tile or scalar in an expression."""
    return Var(name, "int")


def call(op: str, *args: Expr) -> Expr:
    """A float operator."""
    return Call(op, args, "float")


def is_minus_inf(e: Expr) -> Expr:
    """``e == -inf``."""
    return Call("eq", (e, MINUS_INF), "bool")


def scaled(e: Expr, c: float = 1.0) -> Expr:
    """``c * e`` with the constant pushed into products, quotients and sums that hold constants.

    Equal up to rounding: ``scaled(50 * tanh(s / 50), c)`` is ``(50 * c) * tanh(s * 0.02)``. A finite
    literal stays finite in fp32: "very low" must not turn into -inf.
    """
    if isinstance(e, Const):
        return real(_finite(float(e.value), c))
    if isinstance(e, Call) and e.type == "float":
        a = e.args
        if e.op in ("add", "sub"):
            return call(e.op, scaled(a[0], c), scaled(a[1], c))
        if e.op == "neg":
            return scaled(a[0], -c)
        if e.op == "mul":
            for x, y in ((a[0], a[1]), (a[1], a[0])):
                if isinstance(x, Const) and _normal(c * float(x.value)):
                    return scaled(y, c * float(x.value))
            return call("mul", scaled(a[0], c), scaled(a[1]))
        if e.op == "div" and isinstance(a[1], Const) and a[1].value != 0 and _normal(c / float(a[1].value)):
            return scaled(a[0], c / float(a[1].value))
        if e.op == "where":
            return call("where", a[0], scaled(a[1], c), scaled(a[2], c))
        e = with_children(e, tuple(scaled(x) if x.type == "float" else x for x in a))
    return e if c == 1.0 else call("mul", e, real(c))


def _normal(c: float) -> bool:
    """Whether fp32 holds the factor ``c`` to full precision."""
    return c == 0 or FP32_TINY <= abs(c) <= FLOAT_LIMIT


def _finite(value: float, c: float) -> float:
    """``value * c``, held to what fp32 can hold unless ``value`` is infinite itself."""
    product = value * c
    return product if math.isinf(value) else max(-FLOAT_LIMIT, min(FLOAT_LIMIT, product))


def multiple_of(e: Expr, name: str) -> float | None:
    """c where ``e`` is ``name * c`` with c > 0, else None. A c that fp32 flushes to 0 would make
    -inf * 0 of a hidden pair, one beyond fp32 inf * 0 of a zero."""
    if e == tile(name):
        return 1.0
    if isinstance(e, Call) and e.op == "mul" and e.args[0] == tile(name) and isinstance(e.args[1], Const):
        return float(e.args[1].value) if FP32_TINY <= e.args[1].value <= FLOAT_LIMIT else None
    return None


def may_be_minus_inf(e: Expr) -> bool:
    """Whether a score can be -inf: it names inf, holds a value that may be (biases mask by -inf), has a
    pole, or overflows. Loaded values are named already; only the dot ``s`` is known to be finite."""

    def risky(n: Expr) -> bool:
        if isinstance(n, Const):
            return n.type == "float" and math.isinf(n.value)
        if isinstance(n, Read | Var):
            return n.type == "float" and n.name != "s"
        if n.op not in ("log", "log2", "div", "exp", "exp2"):
            return False
        return n.op != "div" or not isinstance(n.args[1], Const)

    return any(map(risky, walk(e)))


def replace(e: Expr, named: dict[Expr, Expr]) -> Expr:
    """``e`` with whole subexpressions replaced, outermost first."""
    if e in named:
        return named[e]
    return with_children(e, tuple(replace(c, named) for c in children(e)))


ZERO, ONE = integer(0), integer(1)
