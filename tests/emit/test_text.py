"""Printed expressions mean what the tree means, with Triton's truncating division."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashgen.backends.triton.emit.arithmetic import TRUNCATING, Arithmetic
from flashgen.backends.triton.emit.facts import Facts
from flashgen.backends.triton.emit.ops import TEXTS, Row
from flashgen.backends.triton.emit.text import Dialect, Printer, fill, subscript
from flashgen.expr import algebra as al
from flashgen.expr import bits
from flashgen.expr.evaluate import evaluate_python
from flashgen.expr.extent import INT64, LANGUAGE
from flashgen.expr.nodes import Call, Expr, Var, integer, real, rewrite, substitute
from flashgen.expr.ops import OPS
from flashgen.expr.share import share
from flashgen.ir.program import Tile
from flashgen.ir.verify import InvalidIR

from ..expr.strategies import expressions

NAMES = ("b", "h", "hkv", "q", "k", "Nq", "Nk")


def printed(e: Expr, axes: tuple[str, ...] = (), dialect: Dialect = "exact", **facts: Any) -> str:
    known = Facts(**facts)
    return Printer(known.tiles, dialect=dialect).text(Arithmetic(known).lowered(e), axes)


class Number:
    """An int of 32 or 64 bits, or a bool, as Triton computes with it: ``//`` and ``%`` truncate, the wider
    operand's bits hold the result (which must not wrap), and a literal takes those of what it meets."""

    def __init__(self, value: Any, bits: int | None = None) -> None:
        self.value: Any = value.value if isinstance(value, Number) else value
        self.bits: int | None = value.bits if isinstance(value, Number) and bits is None else bits
        if self.bits and not -(2 ** (self.bits - 1)) <= self.value < 2 ** (self.bits - 1):
            raise OverflowError(f"{self.value} in {self.bits} bits")

    def to(self, bits: int) -> Number:
        return Number(int(self.value), bits)

    def __neg__(self) -> Number:
        return Number(-self.value, self.bits)

    def __invert__(self) -> Number:
        return Number(not self.value if isinstance(self.value, bool) else ~self.value, self.bits)


def _quotient(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a >= 0) == (b >= 0) else -1)


def _operator(f: Callable[[Any, Any], Any], swap: bool = False) -> Callable[[Any, Any], Number]:
    def g(a: Any, b: Any) -> Number:
        bits = max((n.bits or 0 for n in (Number(a), Number(b))), default=0)
        x, y = (Number(n, bits or None).value for n in (a, b))
        found = f(y, x) if swap else f(x, y)
        return Number(found, None if isinstance(found, bool) else bits or None)

    return g


_BINARY = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": _quotient,
    "mod": lambda a, b: a - b * _quotient(a, b),
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "lshift": operator.lshift,
    "rshift": operator.rshift,
}
for _name, _f in _BINARY.items():
    setattr(Number, f"__{_name}__", _operator(_f))
    setattr(Number, f"__r{_name}__", _operator(_f, swap=True))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Number, f"__{_name}__", _operator(getattr(operator, _name)))


def _where(c: Any, a: Any, b: Any) -> Number:
    return _operator(lambda x, y: x if Number(c).value else y)(a, b)


TL = SimpleNamespace(
    int32=32,
    int64=64,
    cast=lambda a, bits: Number(a).to(bits),
    minimum=_operator(min),
    maximum=_operator(max),
    abs=lambda a: Number(abs(Number(a).value), Number(a).bits),
    where=_where,
    cdiv=lambda a, b: (a + b - 1) // b,
)


def run(text: str, values: dict[str, int]) -> Any:
    return Number(eval(text, {"tl": TL, **{n: Number(v, 32) for n, v in values.items()}})).value


@given(
    expressions("int", floats=False) | expressions("bool", floats=False),
    st.fixed_dictionaries({n: st.integers(0, 40) for n in NAMES} | {"qpos": st.integers(-40, 40)}),
)
def test_printed_integers_floor_although_triton_truncates(e: Expr, values: dict[str, int]) -> None:
    # As lowering does: nothing printed divides by zero, or shifts by what is no count.
    e = rewrite(e, lambda n: al.guarded(bits.plain(n)))
    expected = evaluate_python(e, values)
    assert run(printed(e), values) == expected


INT32 = st.sampled_from((-(2**31), 2**31 - 1, 0, -1, 7)) | st.integers(-(2**31), 2**31 - 1)


@given(
    expressions("int", floats=False) | expressions("bool", floats=False),
    st.fixed_dictionaries(dict.fromkeys(("x", "y", "z"), INT32) | {n: st.integers(0, 2**28) for n in "hbk"}),
)
def test_printed_integers_do_not_wrap(e: Expr, values: dict[str, int]) -> None:
    """``x``, ``y`` and ``z`` are any 32-bit numbers, as what is read is."""
    read = {"q": "x", "Nq": "y", "qpos": "z", "Nk": "x", "hkv": "k"}
    e = substitute(e, {n: Var(x, "int") for n, x in read.items()})
    e = rewrite(e, lambda n: al.guarded(bits.plain(n)))
    if not LANGUAGE.leaving(e, INT64):
        assert run(printed(e), values) == evaluate_python(e, values)


@given(
    expressions("int", floats=False),
    st.fixed_dictionaries({n: st.integers(0, 40) for n in NAMES} | {"qpos": st.integers(-40, 40)}),
)
def test_named_parts_change_nothing(e: Expr, values: dict[str, int]) -> None:
    parts, (rest,) = share((Call("add", (e, e), "int"),), "x")
    expected = 2 * evaluate_python(e, values)
    seen: dict[str, Any] = dict(values)
    for name, part in parts:
        seen[name] = evaluate_python(part, seen)
    assert evaluate_python(rest, seen) == expected


def index(name: str) -> Var:
    return Var(name, "int")


def call(op: str, *args: Expr, kind: str = "int") -> Call:
    return Call(op, args, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "e, text",
    [
        (call("floordiv", index("q"), integer(7)), "q // 7"),
        (call("floordiv", index("qpos"), integer(8)), "qpos >> 3"),
        (call("mod", index("qpos"), integer(8)), "qpos & 7"),
        (call("mod", index("qpos"), integer(7)), "(qpos % 7 + 7) % 7"),
        (call("mod", index("read"), integer(7)), "(read % 7 + 7) % 7"),
        (
            call("floordiv", index("read"), integer(7)),
            "read // 7 - tl.where(read % 7 < 0, 1, 0)",
        ),
        (call("sub", index("read"), index("k")), "tl.cast(read, tl.int64) - k"),
        (
            call("max", call("min", call("sub", index("read"), integer(9)), index("Nk")), integer(0)),
            "tl.cast(tl.maximum(tl.minimum(tl.cast(read, tl.int64) - 9, Nk), 0), tl.int32)",
        ),
        (call("max", integer(0), call("floordiv", index("qpos"), integer(7))), "tl.maximum(0, qpos // 7)"),
        (call("sub", index("q"), call("sub", index("k"), integer(1))), "q - (k - 1)"),
        (call("mul", call("add", index("q"), index("k")), integer(2)), "(q + k) * 2"),
        (call("add", index("q"), integer(-3)), "q - 3"),
        (real(-math.inf), 'float("-inf")'),
        (call("float", integer(3), kind="float"), "3.0"),
        (
            call("and", call("lt", index("k"), index("Nk"), kind="bool"), Var("seen", "bool"), kind="bool"),
            "(k < Nk) & seen",
        ),
    ],
)
def test_texts_are_minimal(e: Expr, text: str) -> None:
    assert printed(e) == text


TILES = {
    "m": Tile("m", ("q",), "acc"),
    "s": Tile("s", ("q", "k"), "acc"),
    "t": Tile("t", ("k", "q"), "acc"),
    "x": Tile("x", ("q",), "elem"),
    "n": Tile("n", ("k",), "int32"),
}


@pytest.mark.parametrize(
    "e, text",
    [
        (call("sub", Var("s", "float"), Var("m", "float"), kind="float"), "s - m[:, None]"),
        (call("float", Var("n", "int"), kind="float"), "n[None, :].to(tl.float32)"),
        (call("mul", Var("s", "float"), Var("x", "float"), kind="float"), "s * x[:, None].to(tl.float32)"),
        (call("add", Var("s", "float"), Var("t", "float"), kind="float"), "s + tl.trans(t)"),
    ],
)
def test_tiles_broadcast_by_the_names_of_their_axes(e: Expr, text: str) -> None:
    assert printed(e, ("q", "k"), tiles=TILES) == text


def test_a_tile_cannot_lose_an_axis() -> None:
    with pytest.raises(AssertionError, match="used over"):
        subscript("s", ("q", "k"), ("q",))


def test_operators_written_as_formulas_bind_their_arguments() -> None:
    text, _ = fill(Row("1.0 / (1.0 + tl.exp2(-2.0 * {0}))", 40), [("a + b", 30)])
    assert text == "1.0 / (1.0 + tl.exp2(-2.0 * (a + b)))"


def test_inline_assembly_is_for_16_bit_elements_on_nvidia_alone() -> None:
    e = call("tanh", Var("s", "float"), kind="float")
    assert "asm" not in printed(e)
    assert "tanh.approx.f32" in printed(e, dialect="ptx")


def test_every_operator_has_a_text_of_all_its_arguments() -> None:
    assert set(OPS) <= set(TEXTS) | set(TRUNCATING)
    assert set(TRUNCATING.values()) <= set(TEXTS)
    for op in OPS.values():
        row = TEXTS[TRUNCATING.get(op.name, op.name)]
        texts = [t for t in (row.text, row.ptx) if t is not None]
        assert all(f"{{{i}}}" in t for t in texts for i in range(len(op.takes))), op.name


@pytest.mark.parametrize("op", TRUNCATING)
def test_an_operator_that_was_not_lowered_is_refused(op: str) -> None:
    with pytest.raises(InvalidIR, match=f"{op} was not lowered"):
        Printer().text(call(op, index("q"), integer(7)))
