"""Each row of the table: torch agrees with plain Python, and derivatives with finite differences.

Plain Python is the reference here because the oracle computes with torch, and would inherit a wrong row.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, cast

import pytest
import torch

from flashgen.expr import build
from flashgen.expr.evaluate import evaluate_python, evaluate_torch
from flashgen.expr.nodes import Expr, Type, Var
from flashgen.expr.ops import OPS, Op
from flashgen.expr.parse import Scope, parse

INF, NAN = math.inf, math.nan
VALUES: dict[str, list[Any]] = {
    "float": [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.7, -1e-3, 88.0, -750.0, 750.0, 3e9, -1e30, INF, -INF, NAN],
    "int": [0, 1, -1, 2, 3, -3, 7, -8, 63, 64, 65, -64, 2**31 - 1, -(2**31) + 1],
    "bool": [True, False],
}
NAMES = ("a", "b", "c")


def signatures(op: Op) -> list[tuple[Type, ...]]:
    """The argument types to try: numbers as ints and as floats, alone and mixed."""
    each = [("int", "float") if t in ("num", "float") else (t,) for t in op.takes]
    return cast(list[tuple[Type, ...]], list(itertools.product(*each)))


CASES = [
    pytest.param(op, types, id=f"{op.name}-{'-'.join(types)}")
    for op in OPS.values()
    for types in signatures(op)
]


def defined(op: Op, args: tuple[Any, ...]) -> bool:
    """Integer division by zero has no value; the parser refuses a literal zero."""
    return not (op.name in ("floordiv", "mod", "cdiv") and args[1] == 0)


def same(got: Any, expected: Any, exact: bool) -> bool:
    if isinstance(expected, float) and not exact:
        return math.isnan(expected) == math.isnan(got) and (
            math.isnan(expected) or got == expected or math.isclose(got, expected, rel_tol=1e-13)
        )
    return bool((type(got) is type(expected) and got == expected) or (got != got and expected != expected))


@pytest.mark.parametrize("op, types", CASES)
def test_torch_means_what_python_means(op: Op, types: tuple[Type, ...]) -> None:
    e = build.call(op.name, *(Var(n, t) for n, t in zip(NAMES, types, strict=False)))
    rows = [r for r in itertools.product(*(VALUES[t] for t in types)) if defined(op, r)]
    expected = [evaluate_python(e, dict(zip(NAMES, r, strict=False))) for r in rows]
    columns = [torch.tensor(c, dtype=dtype(t)) for c, t in zip(zip(*rows, strict=True), types, strict=True)]
    got = evaluate_torch(e, dict(zip(NAMES, columns, strict=False)), no_reads, torch.float64)
    assert isinstance(got, torch.Tensor)
    assert got.dtype == (dtype(e.type) if e.type != "int" else torch.int64)
    exact = e.type != "float" or op.name in (
        "add",
        "sub",
        "mul",
        "neg",
        "abs",
        "min",
        "max",
        "where",
        "float",
    )
    for row, g, x in zip(rows, got.tolist(), expected, strict=True):
        assert same(g, x, exact), f"{op.name}{row}: torch {g}, python {x}"


@pytest.mark.parametrize("op, types", CASES)
def test_numbers_stay_numbers(op: Op, types: tuple[Type, ...]) -> None:
    """With some arguments Python numbers the result is the same, in the tensor's own dtype."""
    e = build.call(op.name, *(Var(n, t) for n, t in zip(NAMES, types, strict=False)))
    rows = [r for r in itertools.product(*(VALUES[t][:6] for t in types)) if defined(op, r)]
    for row in rows:
        expected = evaluate_python(e, dict(zip(NAMES, row, strict=False)))
        for as_tensor in itertools.product((True, False), repeat=len(types)):
            values = {
                n: torch.tensor([v], dtype=torch.float32 if t == "float" else dtype(t)) if tensor else v
                for n, v, t, tensor in zip(NAMES, row, types, as_tensor, strict=False)
            }
            got = evaluate_torch(e, values, no_reads, torch.float32)
            if isinstance(got, torch.Tensor):
                assert got.dtype == {"float": torch.float32, "int": torch.int64, "bool": torch.bool}[e.type]
                got = got.item()
            else:
                assert not all(as_tensor)
            assert got == pytest.approx(expected, rel=1e-6, nan_ok=True), f"{op.name}{row} {as_tensor}"


def dtype(t: Type) -> torch.dtype:
    return {"float": torch.float64, "int": torch.int64, "bool": torch.bool}[t]


def no_reads(*_: Any) -> Any:
    raise AssertionError("nothing is read here")


POINTS = [-2.3, -0.7, 0.4, 1.9]
DERIVATIVES = [
    pytest.param(op, i, id=f"{op.name}-{NAMES[i]}")
    for op in OPS.values()
    for i, d in enumerate(op.derivative)
    if d
]


@pytest.mark.parametrize("op, position", DERIVATIVES)
def test_derivatives_are_slopes(op: Op, position: int) -> None:
    """The derivative column, read as the language's own text, against central differences."""
    types: list[Type] = ["bool" if t == "bool" else "float" for t in op.takes]
    value = build.call(op.name, *(Var(n, t) for n, t in zip(NAMES, types, strict=False)))
    if op.name == "float":  # the identity on floats
        assert op.derivative == ("1",)
        return
    scope = Scope({**dict(zip(NAMES, types, strict=False)), "y": "float"})
    text = op.derivative[position]
    assert text is not None
    slope: Expr = parse(text, scope, want="float")
    step = 1e-6
    positive = op.name in ("log", "log2", "sqrt")
    for row in itertools.product(*([True, False] if t == "bool" else POINTS for t in types)):
        at = dict(zip(NAMES, [abs(v) if positive else v for v in row], strict=False))
        floats = [v for v, t in zip(at.values(), types, strict=False) if t == "float"]
        if op.name in ("min", "max") and len(set(floats)) == 1:
            continue  # a kink
        n = NAMES[position]
        ends = [float(evaluate_python(value, {**at, n: at[n] + d})) for d in (-step, step)]
        y = evaluate_python(value, at)
        expected = (ends[1] - ends[0]) / (2 * step)
        assert evaluate_python(slope, {**at, "y": y}) == pytest.approx(expected, rel=1e-5, abs=1e-8), (
            row,
            text,
        )


def test_every_row_is_complete() -> None:
    for op in OPS.values():
        numbers = [t for t in op.takes if t != "bool"]
        smooth = op.result in ("same", "float") and numbers
        assert len(op.derivative) == len(op.takes) or not smooth, f"{op.name}: one derivative an argument"
        assert op.doc
        assert op.slots > 0
        assert op.special >= op.exponentials >= 0
