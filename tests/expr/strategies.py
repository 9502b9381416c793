"""Random expressions of the language, typed as the parser types them."""

from __future__ import annotations

from hypothesis import strategies as st

from flashgen.expr import build
from flashgen.expr.nodes import FALSE, TRUE, Const, Expr, Read, Type, Var, integer, real
from flashgen.expr.ops import OPS
from flashgen.expr.scope import SCORE_SCOPE, InputType, Scope

INPUTS = {
    "bias": InputType(3, "float"),
    "slopes": InputType(1, "float"),
    "length": InputType(1, "int"),
    "keep": InputType(2, "bool"),
    "sink": InputType(0, "float"),
}
SCOPE = Scope(SCORE_SCOPE.variables, INPUTS)
INDICES = ("b", "h", "q", "k")

_PUBLIC = [op for op in OPS.values() if op.public or op.name in ("neg", "not", "bit_not")]


def _folds(op: str, args: tuple[Expr, ...]) -> bool:
    """Whether the parser would refuse this call, or make something else of it."""
    if op == "neg" and isinstance(args[0], Const):
        return True
    return build.unsound(build.call(op, *args)) is not None


@st.composite
def expressions(draw: st.DrawFn, want: Type, depth: int = 4, floats: bool = True) -> Expr:
    """An expression of type ``want``; ``floats=False`` leaves out floats and reads."""

    def one(t: Type, left: int) -> Expr:
        if left == 0 or draw(st.integers(0, 3)) == 0:
            return leaf(t, left)
        makes = [op for op in _PUBLIC if op.result == t or (op.result == "same" and t != "bool")]
        if not floats:
            makes = [op for op in makes if "float" not in op.takes and op.result != "float"]
        op = draw(st.sampled_from(makes))
        number: Type = (
            t if op.result == "same" else draw(st.sampled_from(("int", "float"))) if floats else "int"
        )
        types = [{"num": number}.get(takes, takes) for takes in op.takes]
        args = tuple(one(a, left - 1) for a in types)  # type: ignore[arg-type]
        if _folds(op.name, args):
            return leaf(t, 0)
        e = build.call(op.name, *args)
        return e if e.type == t else leaf(t, 0)

    def leaf(t: Type, left: int) -> Expr:
        choices: list[st.SearchStrategy[Expr]] = []
        if t == "bool":
            choices.append(st.sampled_from((TRUE, FALSE)))
        if t == "int":
            choices.append(st.integers(-20, 20).map(integer))
            choices.append(st.sampled_from([Var(n, "int") for n, v in SCOPE.variables.items() if v == "int"]))
        if t == "float":
            choices.append(st.floats(allow_nan=False, width=32).map(real))
            choices.append(st.just(Var("s", "float")))
        readable = [n for n, i in INPUTS.items() if i.type == t] if floats else []
        if readable and left:
            name = draw(st.sampled_from(readable))
            index = tuple(Var(draw(st.sampled_from(INDICES)), "int") for _ in range(INPUTS[name].rank))
            choices.append(st.just(Read(name, index, t)))
        return draw(st.one_of(choices))

    e = one(want, depth)
    return build.promote(e) if want == "float" else e
