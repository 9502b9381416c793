"""The table of operators. A function of the language is one row here and nothing else anywhere.

``python`` is the meaning on plain numbers; ``torch`` is the same on tensors and numbers, with at least
one tensor (called with the torch module first; ``evaluate`` sees to it); ``interval`` is the proof rule for
loop bounds, ``extent`` that for 32 bits, ``derivative`` one text per argument in the language itself
(``a, b, c`` are the arguments, ``y`` the result; None: no derivative exists). ``slots`` and ``special`` are
costs in units of the hardware; what it looks like in a GPU language is a table of that backend.
``result`` and ``takes`` type a call:

========== ==================================================================
``same``   int if every number is int, else float (ints are promoted)
``float``  float (ints are promoted)
``int``    int, from ints only
``bool``   bool
========== ==================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from . import extent as ex
from . import interval as iv
from .limits import MOST_SHIFT

Takes = Literal["num", "int", "float", "bool"]


@dataclass(frozen=True)
class Op:
    """One row of the table."""

    name: str
    takes: tuple[Takes, ...]
    result: Literal["same", "float", "int", "bool"]
    doc: str
    python: Callable[..., Any]
    torch: Callable[..., Any]
    derivative: tuple[str | None, ...] = ()
    interval: iv.Rule | None = None
    symbol: str | None = None
    precedence: int = 100  # of a symbol; calls bind tightest
    public: bool = True
    slots: int = 1  # issue slots an element
    special: int = 0  # results of the special-function unit an element, reciprocals included
    exponentials: int = 0  # those of them that are exponentials
    out: str | None = None  # torch's function of this meaning that writes into ``out=`` (float tensors)
    beside_number: tuple[str, ...] = ()  # the derivatives of two arguments of which the other is a number
    # The largest magnitude by those of the arguments, where it is not at an end of theirs or at 0
    most: Callable[..., Any] | None = None
    extent: ex.Rule | None = None  # of an int result; None: no more bits than its arguments take, or 32

    @property
    def usage(self) -> str:
        """How it is written: ``a + b``, ``exp(x)``, ``where(condition, a, b)``."""
        numbers = iter("x" if len(self.takes) == 1 else "an" if self.name.startswith("shift") else "ab")
        names = ["condition" if t == "bool" and not self.symbol else next(numbers) for t in self.takes]
        return f" {self.symbol} ".join(names) if self.symbol else f"{self.name}({', '.join(names)})"


def _div(a: float, b: float) -> float:
    if b == 0:
        sign = math.copysign(1, a) * math.copysign(1, b)
        return math.nan if a == 0 or math.isnan(a) else sign * math.inf
    return a / b


def _log(a: float) -> float:
    return math.nan if a < 0 or math.isnan(a) else -math.inf if a == 0 else math.log(a)


def _or_inf(f: Callable[[float], float]) -> Callable[[float], float]:
    def g(a: float) -> float:
        try:
            return f(a)
        except OverflowError:
            return math.inf

    return g


_exp = _or_inf(math.exp)


def _sqrt(a: float) -> float:
    return math.nan if a < 0 else math.sqrt(a)


def _trig(f: Callable[[float], float]) -> Callable[[float], float]:
    return lambda a: math.nan if math.isinf(a) else f(a)


def _sigmoid(a: float) -> float:
    return 1 / (1 + _exp(-a)) if a >= 0 else _exp(a) / (1 + _exp(a)) if not math.isnan(a) else a


def _minmax(pick: Callable[[float, float], float]) -> Callable[[float, float], float]:
    def f(a: float, b: float) -> float:
        return math.nan if a != a or b != b else pick(a, b)

    return f


def _floor(a: float) -> int:
    # As hardware converts: NaN is 0 and what is too large is the nearest 32-bit integer.
    return 0 if math.isnan(a) else math.floor(min(max(a, -(2.0**31)), 2.0**31 - 1))


def _torch_floor(t: Any, a: Any) -> Any:
    return t.nan_to_num(a.floor(), nan=0.0).clamp(-(2.0**31), 2.0**31).to(t.int64).clamp(max=2**31 - 1)


def _torch_divide(name: str) -> Callable[..., Any]:
    def f(t: Any, a: Any, b: Any) -> Any:
        if not isinstance(b, t.Tensor):
            return getattr(t, name)(a, b) if b else t.zeros_like(a)
        zero = b == 0
        a = a if isinstance(a, t.Tensor) else t.as_tensor(a)
        return getattr(t, name)(a, b.masked_fill(zero, 1)).masked_fill(zero, 0)

    return f


def _shift(shifted: Callable[[int, int], int]) -> Callable[[int, int], int]:
    return lambda a, n: shifted(a, n) if 0 <= n <= MOST_SHIFT else 0


def _torch_shift(name: str) -> Callable[..., Any]:
    def f(t: Any, a: Any, n: Any) -> Any:
        if not isinstance(n, t.Tensor):
            return getattr(t, name)(a, n) if 0 <= n <= MOST_SHIFT else t.zeros_like(a)
        outside = (n < 0) | (n > MOST_SHIFT)
        a = a if isinstance(a, t.Tensor) else t.as_tensor(a)
        return getattr(t, name)(a, n.masked_fill(outside, 0)).masked_fill(outside, 0)

    return f


def _torch_minmax(name: str, bound: str) -> Callable[..., Any]:
    """``clamp`` takes a number as it is, ``minimum`` and ``maximum`` two tensors; all let NaN through."""

    def f(t: Any, a: Any, b: Any) -> Any:
        if isinstance(a, t.Tensor) and isinstance(b, t.Tensor):
            return getattr(t, name)(a, b)
        return t.clamp(a, **{bound: b}) if isinstance(a, t.Tensor) else t.clamp(b, **{bound: a})

    return f


def _chosen(sign: str, share: str) -> tuple[str, str]:
    """The derivatives of a choice between two values: ``share`` for what is chosen."""
    return f"where(a {sign} b, {share}, 0.0)", f"where(b {sign} a, {share}, 0.0)"


_TABLE = (
    Op("or", ("bool", "bool"), "bool", "either", lambda a, b: a or b, lambda t, a, b: a | b,
       (), iv.logical_or, "|", 10),
    Op("xor", ("bool", "bool"), "bool", "one of both", lambda a, b: a != b, lambda t, a, b: a ^ b,
       (), iv.logical_xor, "^", 15),
    Op("and", ("bool", "bool"), "bool", "both", lambda a, b: a and b, lambda t, a, b: a & b,
       (), iv.logical_and, "&", 20),
    Op("lt", ("num", "num"), "bool", "less than", lambda a, b: a < b, lambda t, a, b: a < b,
       (), iv.less, "<", 5),
    Op("le", ("num", "num"), "bool", "at most", lambda a, b: a <= b, lambda t, a, b: a <= b,
       (), iv.less_equal, "<=", 5),
    Op("gt", ("num", "num"), "bool", "greater than", lambda a, b: a > b, lambda t, a, b: a > b,
       (), iv.greater, ">", 5),
    Op("ge", ("num", "num"), "bool", "at least", lambda a, b: a >= b, lambda t, a, b: a >= b,
       (), iv.greater_equal, ">=", 5),
    Op("eq", ("num", "num"), "bool", "equal", lambda a, b: a == b, lambda t, a, b: a == b,
       (), iv.equal, "==", 5),
    Op("ne", ("num", "num"), "bool", "not equal", lambda a, b: a != b, lambda t, a, b: a != b,
       (), iv.not_equal, "!=", 5),
    Op("iff", ("bool", "bool"), "bool", "both or neither", lambda a, b: a == b, lambda t, a, b: a == b,
       (), iv.logical_iff, "==", 5),
    Op("unlike", ("bool", "bool"), "bool", "one of both", lambda a, b: a != b, lambda t, a, b: a != b,
       (), iv.logical_xor, "!=", 5),
    Op("bit_or", ("int", "int"), "int", "the bits of either", lambda a, b: a | b, lambda t, a, b: a | b,
       (None, None), None, "|", 10),
    Op("bit_xor", ("int", "int"), "int", "the bits of one of both", lambda a, b: a ^ b, lambda t, a, b: a ^ b,
       (None, None), None, "^", 15),
    Op("bit_and", ("int", "int"), "int", "the bits of both", lambda a, b: a & b, lambda t, a, b: a & b,
       (None, None), iv.bit_and, "&", 20),
    Op("shift_left", ("int", "int"), "int", f"`a * 2 ** n` for `n` from 0 to {MOST_SHIFT}, else 0",
       _shift(lambda a, n: a << n), _torch_shift("bitwise_left_shift"),
       (None, None), iv.shift_left, "<<", 25, extent=ex.shift_left),
    Op("shift_right", ("int", "int"), "int", f"`a // 2 ** n` for `n` from 0 to {MOST_SHIFT}, else 0",
       _shift(lambda a, n: a >> n), _torch_shift("bitwise_right_shift"),
       (None, None), iv.shift_right, ">>", 25),
    Op("add", ("num", "num"), "same", "sum", lambda a, b: a + b, lambda t, a, b: a + b,
       ("1", "1"), iv.add, "+", 30, out="add", extent=ex.add),
    Op("sub", ("num", "num"), "same", "difference", lambda a, b: a - b, lambda t, a, b: a - b,
       ("1", "-1"), iv.sub, "-", 30, out="sub", extent=ex.sub),
    Op("mul", ("num", "num"), "same", "product", lambda a, b: a * b, lambda t, a, b: a * b,
       ("b", "a"), iv.mul, "*", 40, out="mul", extent=ex.mul),
    Op("div", ("num", "num"), "float", "quotient", _div, lambda t, a, b: a / b,
       ("1 / b", "-y / b"), None, "/", 40, slots=8, special=1, out="div"),
    Op("floordiv", ("int", "int"), "int", "quotient rounded down, as in Python; by zero 0",
       lambda a, b: a // b if b else 0, _torch_divide("floor_divide"),
       (None, None), iv.floordiv, "//", 40, slots=12, extent=ex.floordiv),
    Op("mod", ("int", "int"), "int", "remainder with the divisor's sign, as in Python; by zero 0",
       lambda a, b: a % b if b else 0, _torch_divide("remainder"),
       (None, None), iv.mod, "%", 40, slots=12, extent=ex.mod),
    Op("neg", ("num",), "same", "negation", lambda a: -a, lambda t, a: -a,
       ("-1",), iv.neg, None, 50, public=False, out="neg", extent=ex.neg),
    Op("not", ("bool",), "bool", "negation", lambda a: not a, lambda t, a: ~a,
       (), iv.logical_not, None, 50, public=False),
    Op("bit_not", ("int",), "int", "the other bits, `-x - 1`", lambda a: ~a, lambda t, a: ~a,
       (None,), iv.bit_not, None, 50, public=False),
    Op("where", ("bool", "num", "num"), "same", "`a` where the condition holds, else `b`",
       lambda c, a, b: a if c else b, lambda t, c, a, b: t.where(c, a, b),
       (None, "where(a, 1.0, 0.0)", "where(a, 0.0, 1.0)"), iv.where,
       extent=ex.where),
    Op("min", ("num", "num"), "same", "the smaller", _minmax(min), _torch_minmax("minimum", "max"),
       _chosen("<=", "where(a == b, 0.5, 1.0)"), iv.minimum, out="minimum",
       extent=ex.minimum, beside_number=_chosen("<=", "1.0")),
    Op("max", ("num", "num"), "same", "the larger", _minmax(max), _torch_minmax("maximum", "min"),
       _chosen(">=", "where(a == b, 0.5, 1.0)"), iv.maximum, out="maximum",
       extent=ex.maximum, beside_number=_chosen(">=", "1.0")),
    Op("abs", ("num",), "same", "magnitude", abs, lambda t, a: a.abs(),
       ("where(a == 0.0, 0.0, where(a < 0.0, -1.0, 1.0))",), iv.absolute, out="abs",
       extent=ex.absolute),
    Op("exp", ("float",), "float", "e to the power", _exp, lambda t, a: t.exp(a),
       ("y",), slots=5, special=1, exponentials=1, out="exp"),
    Op("exp2", ("float",), "float", "2 to the power", _or_inf(math.exp2), lambda t, a: t.exp2(a),
       ("y * 0.6931471805599453",), slots=4, special=1, exponentials=1, out="exp2"),
    Op("log", ("float",), "float", "natural logarithm", _log, lambda t, a: t.log(a),
       ("1 / a",), slots=6, special=1, out="log"),
    Op("log2", ("float",), "float", "logarithm to base 2",
       lambda a: _log(a) if a <= 0 or a != a else math.log2(a), lambda t, a: t.log2(a),
       ("1.4426950408889634 / a",), slots=5, special=1, out="log2"),
    Op("sqrt", ("float",), "float", "square root", _sqrt, lambda t, a: t.sqrt(a),
       ("0.5 / y",), slots=6, special=1, out="sqrt"),
    Op("sin", ("float",), "float", "sine", _trig(math.sin), lambda t, a: t.sin(a),
       ("cos(a)",), slots=20, special=1, out="sin", most=lambda a: 1.0),
    Op("cos", ("float",), "float", "cosine", _trig(math.cos), lambda t, a: t.cos(a),
       ("-sin(a)",), slots=20, special=1, out="cos", most=lambda a: 1.0),
    Op("tanh", ("float",), "float", "hyperbolic tangent", math.tanh, lambda t, a: t.tanh(a),
       ("1 - y * y",),
       special=1, exponentials=1, out="tanh"),  # one instruction
    Op("sigmoid", ("float",), "float", "1 / (1 + exp(-x))", _sigmoid, lambda t, a: t.sigmoid(a),
       ("y * (1 - y)",),
       slots=8, special=2, exponentials=1, out="sigmoid"),
    Op("floor", ("float",), "int", "the largest integer not above, held to 32 bits; of NaN 0",
       _floor, _torch_floor, (None,), slots=2),
    Op("int", ("bool",), "int", "1 where the condition holds, else 0", int,
       lambda t, a: a.to(t.int64), (None,), iv.as_int, extent=lambda a: a),
    Op("float", ("num",), "float", "the integer as a float", float,
       lambda t, a: a.to(t.get_default_dtype()), ("1",)),
    Op("cdiv", ("int", "int"), "int", "quotient rounded up", lambda a, b: -(-a // b),
       lambda t, a, b: -(-a // b), (None, None), public=False,
       extent=ex.cdiv),
    Op("wide", ("int",), "int", "the same, in 64 bits", lambda a: a, lambda t, a: a,
       (None,), iv.same, public=False, extent=lambda a: a),
    Op("narrow", ("int",), "int", "the same, in the 32 bits that hold it", lambda a: a, lambda t, a: a,
       (None,), iv.same, public=False, extent=lambda a: a),
)  # fmt: skip

OPS: dict[str, Op] = {op.name: op for op in _TABLE}
#: What a sign between two values may mean, by their types: conditions or numbers. One precedence each.
INFIX: dict[str, tuple[Op, ...]] = {
    op.symbol: tuple(other for other in _TABLE if other.symbol == op.symbol) for op in _TABLE if op.symbol
}
#: The same of a sign before one.
PREFIX: dict[str, tuple[Op, ...]] = {"-": (OPS["neg"],), "~": (OPS["not"], OPS["bit_not"])}
