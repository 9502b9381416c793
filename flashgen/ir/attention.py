"""The logical level: ``AttentionSpec`` -> ``AttentionIR``. What is computed, in no particular order.

For query row q and key row k of one (b, h), with s = scale * <Q[q], K[k]>:

    S[q, k] = score(s, b, h, q, k)  where mask(b, h, q, k), else -inf
    out[q]  = dropout(softmax(S[q])) V,      lse[q] = log(exp(sink(b, h, q)) + sum_k exp(S[q, k]))

``row`` names another row function where that is not softmax, see ``rows/``.

Here ``qpos`` is gone (it is ``q + Nk - Nq``) and the dims of inputs are expressions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flashgen.expr import algebra as al
from flashgen.expr import bits
from flashgen.expr import extent as ex
from flashgen.expr.build import real_products
from flashgen.expr.nodes import FALSE, TRUE, Call, Const, Expr, Type, Var, integer, real, rewrite
from flashgen.expr.reach import may_be_large

if TYPE_CHECKING:
    from flashgen.spec.model import AttentionSpec

#: The symbols of input shapes, as lengths.
DIMS = {
    "batch": "B",
    "heads": "Hq",
    "kv_heads": "Hkv",
    "seqlen_q": "Nq",
    "seqlen_k": "Nk",
}
QPOS = al.add(Var("q", "int"), al.sub(Var("Nk", "int"), Var("Nq", "int")))


@dataclass(frozen=True)
class Input:
    """A named input tensor: its dims over ``B Hq Hkv Nq Nk``, the type its elements have when read, and
    whether it is learned."""

    name: str
    dims: tuple[Expr, ...]
    type: Type
    grad: bool = False


@dataclass(frozen=True)
class AttentionIR:
    """One attention variant, its expressions typed and closed."""

    name: str
    d_qk: int
    d_v: int
    scale: float
    score: Expr
    mask: Expr | None
    inputs: tuple[Input, ...] = ()
    tf32: bool = False
    sink: Expr | None = None
    dropout: float = 0.0
    large_score: bool = False  # whether it may be so large that its rounding counts, see ``expr/reach.py``
    large_sink: bool = False
    trained: bool = True  # whether a backward may follow
    row: str = "softmax"  # what makes weights of scores

    def input(self, name: str) -> Input:
        """The input called ``name``."""
        return next(i for i in self.inputs if i.name == name)


def dim(symbol: str | int) -> Expr:
    """A shape entry of a spec as an expression."""
    return integer(symbol) if isinstance(symbol, int) else Var(DIMS[symbol], "int")


def close(e: Expr) -> Expr:
    """``e`` without ``qpos``, integer parts in canonical form as far as 64 bits hold that, and without
    comparisons that extents decide."""

    def rule(n: Expr) -> Expr | None:
        if n == Var("qpos", "int"):
            return QPOS
        if isinstance(n, Call) and n.op == "float":
            return _promoted(n.args[0])
        if n.type != "int":
            return _decided(n)
        canonical = al.simplify(al.guarded(bits.plain(n)))
        return None if ex.LANGUAGE.leaving(canonical, ex.INT64) else canonical

    return rewrite(real_products(e), rule)


def _decided(e: Expr) -> Expr | None:
    """A condition without what always holds or never does: a window as large as integers get is none."""
    if not isinstance(e, Call) or e.type != "bool":
        return None
    match e.op:
        case "and":
            return al.both(*e.args)
        case "or":
            return al.either(*e.args)
        case "not":
            return al.negate(*e.args)
    if any(a.type != "int" for a in e.args):
        return None
    low, high = ex.sub(*(ex.LANGUAGE.extent(a) for a in e.args))
    holds, fails = {
        "lt": (high < 0, low >= 0),
        "le": (high <= 0, low > 0),
        "gt": (low > 0, high <= 0),
        "ge": (low >= 0, high < 0),
        "eq": (low == high == 0, low > 0 or high < 0),
        "ne": (low > 0 or high < 0, low == high == 0),
    }[e.op]
    return TRUE if holds else FALSE if fails else None


def _promoted(e: Expr) -> Expr:
    """An int expression as a float."""
    if isinstance(e, Call) and e.op == "mul":
        return Call("mul", tuple(_promoted(a) for a in e.args), "float")
    return real(float(e.value)) if isinstance(e, Const) else Call("float", (e,), "float")


def lower(spec: AttentionSpec) -> AttentionIR:
    """The meaning of a valid spec."""
    mask = TRUE if spec.mask_expr is None else close(spec.mask_expr)
    return AttentionIR(
        name=spec.name,
        d_qk=spec.d_qk,
        d_v=spec.d_v,
        scale=spec.scale if spec.scale is not None else spec.d_qk**-0.5,
        score=close(spec.score_expr),
        mask=None if mask == TRUE else mask,
        inputs=tuple(
            Input(name, tuple(dim(s) for s in i.shape), i.dtype, i.grad) for name, i in spec.inputs.items()
        ),
        tf32=spec.tf32,
        sink=None if spec.sink_expr is None else close(spec.sink_expr),
        dropout=spec.dropout,
        large_score=may_be_large(spec.score_expr),
        large_sink=spec.sink_expr is not None and may_be_large(spec.sink_expr),
        trained=spec.backward,
        row=spec.row,
    )
