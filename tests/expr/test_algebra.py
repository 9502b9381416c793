"""The smart constructors change how an expression looks, never its value."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flashgen.expr import algebra as al
from flashgen.expr.evaluate import evaluate_python
from flashgen.expr.nodes import FALSE, TRUE, Expr, Var, integer

from .strategies import SCOPE, expressions

NAMES = [n for n, t in SCOPE.variables.items() if t == "int"]
ints = expressions("int", depth=3, floats=False)
conditions = expressions("bool", depth=3, floats=False)


def _inside(at: dict[str, int]) -> dict[str, int]:
    return {**at, "Nq": at["Nq"] + at["q"] + 1, "Nk": at["Nk"] + at["k"] + 1}


#: Lengths and indices: never negative, and rows below their lengths, which the comparisons rely on.
points = st.fixed_dictionaries({n: st.integers(0, 40) for n in NAMES}).map(_inside)

BINARY: dict[str, tuple[Callable[..., Expr], Callable[[int, int], Any]]] = {
    "add": (al.add, operator.add),
    "sub": (al.sub, operator.sub),
    "mul": (al.mul, operator.mul),
    "floordiv": (al.floordiv, operator.floordiv),
    "mod": (al.mod, operator.mod),
    "minimum": (al.minimum, min),
    "maximum": (al.maximum, max),
    "lt": (lambda a, b: al.compare("lt", a, b), operator.lt),
    "le": (lambda a, b: al.compare("le", a, b), operator.le),
    "gt": (lambda a, b: al.compare("gt", a, b), operator.gt),
    "ge": (lambda a, b: al.compare("ge", a, b), operator.ge),
    "eq": (lambda a, b: al.compare("eq", a, b), operator.eq),
    "ne": (lambda a, b: al.compare("ne", a, b), operator.ne),
}


def value(e: Expr, at: dict[str, int]) -> Any:
    try:
        return evaluate_python(e, at)
    except ZeroDivisionError:
        assume(False)
        raise


@pytest.mark.parametrize("name", BINARY)
@given(a=ints, b=ints, at=points)
def test_constructors_equal_python(name: str, a: Expr, b: Expr, at: dict[str, int]) -> None:
    build, meaning = BINARY[name]
    x, y = value(a, at), value(b, at)
    assume(name not in ("floordiv", "mod") or y)
    assert value(build(a, b), at) == meaning(x, y)


@given(ints, st.integers(1, 70), points)
def test_division_by_a_literal(a: Expr, by: int, at: dict[str, int]) -> None:
    x = value(a, at)
    assert value(al.floordiv(a, integer(by)), at) == x // by
    assert value(al.cdiv(a, integer(by)), at) == -(-x // by)
    assert value(al.mod(a, integer(by)), at) == x % by


@given(ints, points)
def test_simplify_and_negate_equal_python(a: Expr, at: dict[str, int]) -> None:
    assert value(al.simplify(a), at) == value(a, at)
    assert value(al.neg(a), at) == -value(a, at)


@given(conditions, conditions, points)
def test_logic_equals_python(a: Expr, b: Expr, at: dict[str, int]) -> None:
    x, y = value(a, at), value(b, at)
    assert value(al.both(a, b), at) is (x and y)
    assert value(al.either(a, b), at) is (x or y)
    assert value(al.negate(a), at) is (not x)


@given(conditions, ints, ints, points)
def test_where_equals_python(c: Expr, a: Expr, b: Expr, at: dict[str, int]) -> None:
    x, y = value(a, at), value(b, at)
    assert value(al.where(c, a, b), at) == (x if value(c, at) else y)


@given(ints, ints, points)
def test_proofs_hold(a: Expr, b: Expr, at: dict[str, int]) -> None:
    x, y = value(a, at), value(b, at)
    assert x >= 0 or not al.non_negative(a)
    assert x <= y or not al.at_most(a, b)


@given(ints, ints)
def test_equal_sums_are_equal_trees(a: Expr, b: Expr) -> None:
    assert al.compare("eq", al.add(a, b), al.add(b, a)) == TRUE
    assert al.sub(al.add(a, b), b) == al.simplify(a)


def test_what_is_provable_folds() -> None:
    q, n = Var("q", "int"), Var("Nk", "int")
    assert al.minimum(q, al.add(q, integer(3))) == q
    assert al.maximum(integer(0), n) == n
    assert al.compare("lt", q, q) == FALSE
    assert al.floordiv(al.add(al.mul(integer(8), q), integer(5)), integer(4)) == al.add(
        al.mul(integer(2), q), integer(1)
    )
