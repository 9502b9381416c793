"""FlashAttention-2 backward (Algorithm 2, and Algorithm 4 of FlashAttention) without atomics: two kernels,
each recomputing P and owning what it writes, so that results are the same bit for bit.

``AttentionIR`` -> ``Program``. With S = score(scale Q K^T) and Z the dropout's mask, the row function makes P
of S, and dS of P and dP = Z * (dO V^T):

    dQ = scale (dS * score') K                      dK = scale (dS * score')^T Q,   dV = (P * Z)^T dO

Kernel 1 has a program per q tile: what the row function prepares, then dQ over the k tiles its rows see.
Kernel 2 has one per k tile and KV head: dK and dV over the query heads of the group and the q tiles that see
it. Kernels for learned inputs follow (``gradients``).
"""

from __future__ import annotations

from flashgen.expr.nodes import integer
from flashgen.expr.terms import ZERO, index
from flashgen.ir.attention import AttentionIR
from flashgen.ir.program import (
    Coords,
    Kernel,
    Loop,
    Program,
    Range,
    Stmt,
    Tensor,
    Tile,
)
from flashgen.rows import row_function
from flashgen.rows.statistics import ROW

from . import dropout
from .axes import (
    GROUP,
    HEAD_OF_GROUP,
    HKV,
    HQ,
    KEYS_INSIDE,
    NK,
    NQ,
    ROWS_INSIDE,
    B,
    grid,
)
from .biases import dense_kernel, table_kernel
from .bounds import KEYS, QUERIES
from .flash2 import program_scalars, tensors
from .gradients import Learned, learned, line_sums
from .products import prepared
from .recompute import Tiles, owned_keys

#: Columns of dK and dV together that one kernel sums. 64 rows of 384 columns, the least that fills a group
#: of four warps, take 192 of a thread's 255 registers.
BOTH_SUMS = 384


def backward(ir: AttentionIR, through: str | None = None) -> Program:
    """dq, dk, dv and the gradients of learned inputs, for ``do`` and, where asked for, the gradient of
    what is left of each row by the name ``through``.

    Raises ``NoDerivative`` where the score, or a learned input's place in it, has none.
    """
    found = learned(ir)
    kernels = [_query_kernel(ir, found, through), *_key_kernels(ir, found)]
    kernels += [dense_kernel(ir, g) for g in found if g.kind == "dense"]
    kernels += [table_kernel(ir, g) for g in found if g.kind == "table"]
    return Program(
        ir.name,
        called("backward", through),
        gradient_tensors(ir, found, through),
        tuple(kernels),
        sums=tuple(g.total for g in found if g.total is not None),
    )


def called(schedule: str, through: str | None) -> str:
    """The name of a backward, by what else than ``o`` a gradient arrives at."""
    return schedule if through is None else f"{schedule}_{through}"


def gradient_tensors(
    ir: AttentionIR, found: list[Learned], through: str | None, *workspaces: Tensor
) -> tuple[Tensor, ...]:
    """In the order of arguments: what arrives, q, k, v, inputs, what the row function saves of a forward;
    then what is made."""
    function = row_function(ir)
    forward = {t.name: t for t in tensors(ir)}
    d, e, row = integer(ir.d_qk), integer(ir.d_v), (B, HQ, NQ)
    arriving = [] if through is None else [Tensor(f"d{through}", row, "acc", "saved")]
    rows_of_values = Tensor("o", (*row, e), "elem", "saved")
    return (
        Tensor("do", (*row, e), "elem", "saved"),
        *arriving,
        *(t for t in forward.values() if t.role in ("q", "k", "v", "input")),
        *(rows_of_values if n == "o" else Tensor(n, row, "acc", "saved") for n in function.saved),
        *dropout.seed_tensors(ir),
        *(Tensor(name, row, "acc", "workspace") for name in function.workspaces),
        *(g.space for g in found if g.space is not None),
        *workspaces,
        Tensor("dq", (*row, d), "elem", "out"),
        Tensor("dk", (B, HKV, NK, d), "elem", "out"),
        Tensor("dv", (B, HKV, NK, e), "elem", "out"),
        *(Tensor(f"d{i.name}", i.dims, "acc", "out") for i in ir.inputs if i.grad),
    )


def _query_kernel(ir: AttentionIR, found: list[Learned], through: str | None) -> Kernel:
    """Kernel 1: what is prepared of each row, dQ and what learned inputs get from each row."""
    rows = [g for g in found if g.kind == "row"]
    t = Tiles.of(ir, KEYS, [g.read for g in rows])
    sums = line_sums(t.values, t.gradient, rows, t.axes, ROWS_INSIDE)
    rounded = t.rounded()
    made = [*filter(None, [t.gradient.row.prepares]), "dQ"]

    def step(partial: bool) -> list[Stmt]:
        dq = t.accumulated("dq", rounded.dst, "k", "dQ = dQ + dS K")
        return [*t.scores(partial), *sums.step, rounded, *dq]

    body: list[Stmt] = [
        *program_scalars(),
        *dropout.seed(ir),
        *dropout.head(ir),
        Coords(Tile("q", ROW, "int32"), index("q_lo")),
        *t.columns(),
        *t.given(ROWS_INSIDE),
        *prepared(t.gradient.row, t.e_pieces, through),
        *t.values.prologue,
        *t.bounds.scalars,
        *t.zeros("dq"),
        *sums.start,
        *t.loops((*t.names("dq"), *sums.carried), step),
        *t.stored("dq", ROWS_INSIDE, ir.scale),
        *sums.finish,
    ]
    return Kernel(
        name=f"{ir.name}_bwd_dq",
        grid=grid("b", "h", "q_tile"),
        axes=t.kernel_axes,
        body=tuple(body),
        note=f"FlashAttention-2 backward: {' and '.join(made)} of one tile of queries.",
        longest=t.bounds.longest,
    )


def _key_kernels(ir: AttentionIR, found: list[Learned]) -> list[Kernel]:
    """Kernel 2: dK and dV, over the query heads that share the KV head; two kernels where the sums of both
    would leave no registers for anything else."""
    if ir.d_qk + ir.d_v <= BOTH_SUMS:
        return [_key_kernel(ir, found, ("dk", "dv"))]
    return [_key_kernel(ir, found, ("dk",)), _key_kernel(ir, [], ("dv",))]


def _key_kernel(ir: AttentionIR, found: list[Learned], wanted: tuple[str, ...]) -> Kernel:
    columns = [g for g in found if g.kind == "column"]
    t = Tiles.of(ir, QUERIES, [g.read for g in columns])
    sums = line_sums(t.values, t.gradient, columns, t.axes, KEYS_INSIDE)
    rounded = t.rounded()
    weights = t.kept()
    of_values: list[Stmt] = [
        weights,
        *t.accumulated("dv", weights.dst, "do", f"dV = dV + {dropout.weights(ir)}^T dO"),
    ]

    def step(partial: bool) -> list[Stmt]:
        if wanted == ("dv",):
            return [*t.weights(partial), *t.second(partial), *dropout.drawn(ir, t.axes), *of_values]
        dk = [rounded, *t.accumulated("dk", rounded.dst, "q", "dK = dK + dS^T Q")]
        return [*t.scores(partial), *sums.step, *(of_values if "dv" in wanted else []), *dk]

    totals = tuple(name for what in wanted for name in t.names(what))
    factors = {"dk": ir.scale, "dv": 1.0}
    head: list[Stmt] = [
        HEAD_OF_GROUP,
        *dropout.head(ir),
        *t.values.prologue,
        *t.bounds.scalars,
        *sums.start,
        *t.loops((*totals, *sums.carried), step),
        *sums.finish,
    ]
    body: list[Stmt] = [
        *owned_keys(),
        *dropout.seed(ir),
        *t.columns(),
        *t.given(KEYS_INSIDE, 0 if wanted == ("dv",) else None),
        *(zero for what in wanted for zero in t.zeros(what)),
        Loop("i_head", (Range(ZERO, GROUP),), totals, tuple(head), note="the query heads of this KV head"),
        *(store for what in wanted for store in t.stored(what, KEYS_INSIDE, factors[what])),
    ]
    both = " and ".join(f"d{what[1].upper()}" for what in wanted)
    return Kernel(
        name=f"{ir.name}_bwd_d{''.join(what[1] for what in wanted)}",
        grid=grid("b", "hkv", "k_tile"),
        axes=t.kernel_axes,
        body=tuple(body),
        note=f"FlashAttention-2 backward: {both} of one tile of keys.",
        longest=t.bounds.longest,
    )
