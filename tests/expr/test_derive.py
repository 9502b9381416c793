"""Derivatives against torch's autograd, central differences and sympy; corners, and what has none."""

from __future__ import annotations

import math
from typing import Any

import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st

from flashgen.expr.cursor import MAX_NODES
from flashgen.expr.derive import ONE, ZERO, NoDerivative, derivative
from flashgen.expr.evaluate import evaluate_python, evaluate_torch
from flashgen.expr.nodes import Call, Expr, Read, Var, larger_than, reads, real, walk
from flashgen.expr.ops import OPS
from flashgen.expr.parse import parse
from flashgen.expr.scope import SCORE_SCOPE, InputType, Scope
from flashgen.expr.text import to_text

S, X = Var("s", "float"), Var("x", "float")
VARIABLES = {**SCORE_SCOPE.variables, "x": "float", "c": "bool"}
INPUTS = {"w": InputType(1, "float"), "n": InputType(1, "int"), "keep": InputType(1, "bool")}
SCOPE = Scope(VARIABLES, INPUTS, {"cap": 50.0})

#: Every smooth operator, and chains of them, over s and x.
SMOOTH = [
    "s + x", "s - x", "x - s", "s * x", "s / x", "x / s", "-s", "-(-s)", "exp(s)", "exp2(s * x)",
    "log(2 + s * s)", "log2(3 + s * s)", "sqrt(1 + s * s)", "sin(s)", "cos(s * x)", "tanh(s)",
    "sigmoid(s + x)",
    "s ** 5", "x ** 2 * s ** 3", "softcap(s, cap)", "softcap(s * x, 3.0) / (1 + exp(-s))", "s * 0.5 + 3",
    "where(c, s * x, exp(s))", "where(~c, s, x)", "tanh(tanh(tanh(s)))", "(s + x) * (s - x) / (1 + s * s)",
    "float(q - k) * s", "(k - qpos) * x + s", "log(1.0 + k) * s / (2 + h)",
]  # fmt: skip
#: With corners, away from them where the values below are random.
CORNERS = [
    "abs(s)", "abs(s * x)", "max(s, x)", "min(s, x)", "max(s, 0.25)", "min(0.25, s)", "clip(s, -0.5, 0.5)",
    "max(s, 0.1 * s)", "min(max(s, x), s * x)", "where(s > x, s * s, x)", "max(max(s, x), s * x)",
    "where(s > 0, sqrt(abs(s)), -s)", "s * int(s > x)", "abs(max(abs(s), abs(x)))",
]  # fmt: skip


def typed(text: str) -> Expr:
    return parse(text, SCOPE, want="float")


def value(e: Expr, at: dict[str, Any]) -> float:
    return float(evaluate_python(e, {"q": 3, "k": 5, "h": 1, "qpos": 3, "c": True, **at}))


def autograd(e: Expr, at: dict[str, Any], wrt: str) -> float:
    values = {n: torch.tensor(v, dtype=torch.float64) if n in ("s", "x") else v for n, v in at.items()}
    values = {"q": 3, "k": 5, "h": 1, "qpos": 3, "c": torch.tensor(True), **values}
    values[wrt].requires_grad_()
    out = evaluate_torch(e, values, nothing_read, torch.float64)
    if not isinstance(out, torch.Tensor) or not out.requires_grad:
        return 0.0
    (found,) = torch.autograd.grad(out, values[wrt], allow_unused=True, materialize_grads=True)
    return float(found)


def nothing_read(*_: Any) -> Any:
    raise AssertionError("nothing is read here")


NUMBERS = st.floats(-3, 3, allow_subnormal=False).filter(lambda v: abs(v) > 1e-3)


@pytest.mark.parametrize("text", SMOOTH + CORNERS)
@given(s=NUMBERS, x=NUMBERS, c=st.booleans())
def test_a_derivative_is_autograds(text: str, s: float, x: float, c: bool) -> None:
    e = typed(text)
    for wrt in (S, X):
        expected = autograd(e, {"s": s, "x": x, "c": torch.tensor(c)}, wrt.name)
        got = value(derivative(e, wrt), {"s": s, "x": x, "c": c})
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-12), to_text(derivative(e, wrt))


@pytest.mark.parametrize("text", SMOOTH)
@pytest.mark.parametrize("s, x", [(0.7, 1.3), (-1.1, 0.4), (2.0, -0.9)])
def test_a_derivative_is_a_slope(text: str, s: float, x: float) -> None:
    e, step = typed(text), 1e-6
    for wrt, moved in ((S, "s"), (X, "x")):
        at = {"s": s, "x": x}
        ends = [value(e, {**at, moved: at[moved] + d}) for d in (-step, step)]
        assert value(derivative(e, wrt), at) == pytest.approx(
            (ends[1] - ends[0]) / (2 * step), rel=1e-6, abs=1e-7
        )


#: Operators as sympy has them; the corners of abs, min and max are torch's business.
SYMPY: dict[str, Any] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b, "neg": lambda a: -a, "exp": sympy.exp, "exp2": lambda a: 2**a,
    "log": sympy.log, "log2": lambda a: sympy.log(a, 2), "sqrt": sympy.sqrt, "sin": sympy.sin,
    "cos": sympy.cos, "tanh": sympy.tanh, "sigmoid": lambda a: 1 / (1 + sympy.exp(-a)),
}  # fmt: skip


def as_sympy(e: Expr, names: dict[str, Any]) -> Any:
    if isinstance(e, Var):
        return names[e.name]
    if isinstance(e, Call):
        return SYMPY[e.op](*(as_sympy(a, names) for a in e.args))
    return sympy.Rational(getattr(e, "value", None))


@pytest.mark.parametrize("op", sorted(SYMPY))
def test_a_rule_is_the_formula_of_the_book(op: str) -> None:
    """The operators of the table, alone, against sympy's derivative to more digits than a float has."""
    names = {n: sympy.Symbol(n, positive=True) for n in ("s", "x")}
    point = {names["s"]: sympy.Rational(7, 5), names["x"]: sympy.Rational(3, 11)}
    args = (S, X)[: len(OPS[op].takes)]
    e = Call(op, args, "float")
    for wrt in args:
        off = as_sympy(derivative(e, wrt), names) - sympy.diff(as_sympy(e, names), names[wrt.name])
        assert abs(off.subs(point).evalf(30)) < 1e-15


def test_every_operator_has_a_case_here() -> None:
    """A new row of the table needs one."""
    met = {n.op for text in SMOOTH + CORNERS for n in walk(typed(text)) if isinstance(n, Call)}
    floats = {op.name for op in OPS.values() if op.result in ("same", "float")}
    assert floats <= met, floats - met


@pytest.mark.parametrize(
    "text, written",
    [
        ("s", "1.0"),
        ("x", "0.0"),
        ("s + 1", "1.0"),
        ("1 - s", "-1.0"),
        ("-s", "-1.0"),
        ("2 * s", "2.0"),
        ("s * 2 * 3", "6.0"),
        ("0.5 * (s + x)", "0.5"),
        ("s * x", "x"),
        ("s / 4", "0.25"),
        ("s / x", "1.0 / x"),
        ("s * s", "s + s"),
        ("x * s - s", "x - 1.0"),
        ("x - s", "-1.0"),
        ("-exp(-s)", "exp(-s)"),
        ("50 * tanh(s / 50)", "1.0 - tanh(s / 50.0) * tanh(s / 50.0)"),
        ("where(c, s, x)", "where(c, 1.0, 0.0)"),
        ("where(c, s, 2 * s)", "where(c, 1.0, 2.0)"),
        ("where(c, s + 1, s)", "1.0"),
        ("max(s, 0)", "where(s >= 0.0, 1.0, 0.0)"),
        ("where(s > x, 1.0, 2.0)", "0.0"),
        ("s * slope", "slope"),
    ],
)
def test_a_derivative_reads_as_one_would_write_it(text: str, written: str) -> None:
    scope = Scope({**VARIABLES, "slope": "float"}, INPUTS)
    assert to_text(derivative(parse(text, scope, want="float"), S)) == written


@pytest.mark.parametrize("text", SMOOTH + CORNERS)
def test_no_factor_of_one_and_no_term_of_zero_is_left(text: str) -> None:
    for wrt in (S, X):
        for n in walk(derivative(typed(text), wrt)):
            if isinstance(n, Call) and n.type == "float":
                assert n.op != "mul" or not {ZERO, ONE, real(-1.0)} & set(n.args), to_text(n)
                assert n.op not in ("add", "sub") or ZERO not in n.args, to_text(n)


@pytest.mark.parametrize(
    "text", ["tanh(s * -1.0)", "exp(0.0 + s)", "sigmoid(1.0 * s * 2.0 * 3.0)", "exp(s - x * 1)"]
)
def test_a_derivative_holds_the_parts_of_the_score_as_they_are(text: str) -> None:
    """So that a kernel computes both from one tanh."""
    e = typed(text)
    assert e in set(walk(derivative(e, S)))


@pytest.mark.parametrize(
    "text, at, slope",
    [
        ("abs(s)", {"s": 0.0}, 0.0),
        ("max(s, 0)", {"s": 0.0}, 1.0),
        ("max(0, s)", {"s": 0.0}, 1.0),
        ("min(s, 2)", {"s": 2.0}, 1.0),
        ("clip(s, -1, 1)", {"s": -1.0}, 1.0),
        ("clip(s, -1, 1)", {"s": 1.5}, 0.0),
        ("max(s, x)", {"s": 1.0, "x": 1.0}, 0.5),
        ("min(x, s)", {"s": 1.0, "x": 1.0}, 0.5),
        ("max(s, s)", {"s": 1.0}, 1.0),
        ("max(s, 0.1 * s)", {"s": 0.0}, 0.55),
        ("where(s >= 0, s, 0)", {"s": 0.0}, 1.0),
        ("where(s > 0, s, 0)", {"s": 0.0}, 0.0),
        ("sqrt(s)", {"s": 0.0}, math.inf),
        ("log(s)", {"s": 0.0}, math.inf),
        ("tanh(s)", {"s": 1e9}, 0.0),
        ("sigmoid(s)", {"s": -1e9}, 0.0),
        ("tanh(s)", {"s": math.inf}, 0.0),
    ],
)
def test_corners_are_torchs(text: str, at: dict[str, float], slope: float) -> None:
    e = typed(text)
    assert value(derivative(e, S), at) == slope
    assert autograd(e, at, "s") == slope


@pytest.mark.parametrize(
    "text, at, slope",
    [
        ("where(s > 0, sqrt(s), 0)", {"s": 0.0}, 0.0),
        ("where(s > 0, log(s), s)", {"s": 0.0}, 1.0),
        ("where(x > 0, s / x, 0)", {"x": 0.0, "s": 1.0}, 0.0),
        ("exp(where(s > 0, 1 / s, 0.0))", {"s": 0.0}, 0.0),
        ("sqrt(where(s > 0, s, 0.0))", {"s": -1.0}, 0.0),
        ("sqrt(where(s > 0, 2 * s, 0.0))", {"s": -1.0}, 0.0),
        ("sqrt(max(s, 0))", {"s": -1.0}, 0.0),
        ("log(clip(s, 0, 1))", {"s": -1.0}, 0.0),
        ("max(exp(s * s), x)", {"s": 0.0, "x": math.inf}, 0.0),
        ("abs(sqrt(s))", {"s": 0.0}, 0.0),
        ("where(c, s, -inf)", {"s": 3.0, "c": False}, 0.0),
        ("where(c, x * s, exp(s))", {"s": 1e4, "x": 2.0}, 2.0),
    ],
)
def test_a_branch_not_taken_adds_nothing(text: str, at: dict[str, Any], slope: float) -> None:
    """Not even NaN, as 0 * inf would (and as torch's does)."""
    assert value(derivative(typed(text), S), at) == slope


def test_by_reads() -> None:
    e = parse("s * w[h] + w[k] * w[h] + where(keep[k], w[q], 0.0)", SCOPE, want="float")
    by = {to_text(r): to_text(derivative(e, r)) for r in reads(e) if r.type == "float"}
    assert by == {"w[h]": "s + w[k]", "w[k]": "w[h]", "w[q]": "where(keep[k], 1.0, 0.0)"}
    assert derivative(e, Read("w", (Var("b", "int"),), "float")) == ZERO


@pytest.mark.parametrize(
    "text, wrt",
    [
        ("where(s > 0, x, 1.0)", S),
        ("x + int(s > 0)", S),
        ("w[floor(s)]", S),
        ("w[n[floor(x)]] + s", X),
        ("where(w[h] > w[k], s, x)", Read("w", (Var("h", "int"),), "float")),
        ("w[floor(w[h])]", Read("w", (Var("h", "int"),), "float")),
    ],
)
def test_what_decides_passes_nothing_on(text: str, wrt: Expr) -> None:
    assert derivative(typed(text), wrt) == ZERO


@pytest.mark.parametrize(
    "text, part",
    [
        ("s + floor(s)", "floor(s)"),
        ("floor(s * x) // 2 + x", "floor(s * x)"),
        ("floor(s) % 3", "floor(s)"),
        ("min(floor(exp(s)), 3) + 0.0", "floor(exp(s))"),
        ("where(c, floor(s), 1) * x", "floor(s)"),
    ],
)
def test_a_step_has_no_derivative(text: str, part: str) -> None:
    with pytest.raises(NoDerivative) as caught:
        derivative(typed(text), S)
    assert str(caught.value) == f"`{part}` has no derivative"
    derivative(typed(text), Read("w", (), "float"))  # by anything else it has one


def test_the_largest_expression_has_a_derivative_of_a_bearable_size() -> None:
    deep = "s"
    for _ in range(11):
        deep = f"max(tanh({deep} * x), w[h])"
    e = typed(deep)
    assert larger_than(e, 50)
    assert not larger_than(derivative(e, S), 40 * MAX_NODES)
    assert not larger_than(derivative(typed("+".join(["s ** 8"] * 20)), S), 40 * MAX_NODES)
