"""The backward of standard attention (FlashAttention, Algorithm 3): S, P, dP and dS go through HBM.

    S = Q K^T,   dP = dO V^T                        a kernel each
    P of S,   dS of P and Z * dP                    one over both matrices, by the row function
    dQ = scale dS K,   dK = scale dS^T Q,   dV = (P * Z)^T dO       a kernel each

It is the yardstick of the papers' tables, as ``standard`` is: every pair is computed, hidden or not. S and
dP are stored in the accumulator's type, P and dS in the element type. P is made again from S and what the row
function leaves of a forward. Kernels for learned inputs read S and dP too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flashgen.expr.nodes import Expr
from flashgen.expr.terms import ZERO, index
from flashgen.ir.attention import AttentionIR
from flashgen.ir.program import (
    Coords,
    Kernel,
    Load,
    Loop,
    Program,
    Range,
    Stmt,
    Store,
    Tensor,
    Tile,
)
from flashgen.rows.statistics import IN_ROW

from . import dropout
from .axes import (
    GROUP,
    HEAD_OF_GROUP,
    HQ,
    KEYS_INSIDE,
    NK,
    NQ,
    PAIRS_INSIDE,
    ROWS_INSIDE,
    B,
    grid,
)
from .backward import called, gradient_tensors
from .biases import dense_kernel, table_kernel
from .bounds import KEYS, QUERIES
from .flash2 import program_scalars
from .gradients import Learned, learned, line_sums
from .loops import every_tile
from .products import prepared
from .recompute import Tiles, owned_keys
from .scrub import scrubbed

IN_MATRIX = (*IN_ROW, index("k"))
SQUARE = (B, HQ, NQ, NK)
#: Matrices as the papers write them.
NAMES = {"q": "Q", "k": "K", "v": "V", "do": "dO", "dk": "dK", "dv": "dV"}
P, DS = (Tile(name, ("q", "k"), "elem") for name in ("p_elem", "ds_elem"))


class Stored(Tiles):
    """Tiles whose S and dP are read from HBM. All are visited: what the mask hides is selected away."""

    def given(self, guard: Expr, which: int | None = None) -> list[Stmt]:
        return []

    def weights(self, partial: bool, also: Sequence[Expr] = ()) -> list[Stmt]:
        return [
            Load(Tile("s", self.axes, "acc"), "S", IN_MATRIX, PAIRS_INSIDE),
            *self.gradient.probability(self.axes, self.visible, self.bounds.inside, also),
        ]

    def scores(self, partial: bool, also: Sequence[Expr] = ()) -> list[Stmt]:
        return [
            *self.weights(partial, also),
            Load(Tile("dp", self.axes, "acc"), "dP", IN_MATRIX, PAIRS_INSIDE),
            *self.gradient.of_scores(self.axes, self.visible, self.bounds.inside),
        ]

    def loops(self, carried: tuple[str, ...], step: Callable[[bool], list[Stmt]]) -> list[Stmt]:
        return [every_tile(self.side, carried, step(True))]


def standard_backward(ir: AttentionIR, through: str | None = None) -> Program:
    """dq, dk, dv and the gradients of learned inputs, as ``backward`` gives them.

    Raises ``NoDerivative`` where the score, or a learned input's place in it, has none.
    """
    found = learned(ir)
    columns = [g for g in found if g.kind == "column"]
    kernels = [
        _product_kernel(ir, "S", "s", ("q", "k")),
        _product_kernel(ir, "dP", "dp", ("do", "v")),
        _pairs_kernel(ir, [g for g in found if g.kind == "row"], through),
        *([_columns_kernel(ir, columns)] if columns else []),
        _query_kernel(ir),
        _key_kernel(ir, "dk", DS, "dS", "q", ir.scale),
        _key_kernel(ir, "dv", P, "P", "do", 1.0),
        *(dense_kernel(ir, g, Stored) for g in found if g.kind == "dense"),
        *(table_kernel(ir, g, Stored) for g in found if g.kind == "table"),
    ]
    stored = (("S", "acc"), ("dP", "acc"), ("P", "elem"), ("dS", "elem"))
    matrices = (Tensor(name, SQUARE, dtype, "workspace") for name, dtype in stored)
    return Program(
        ir.name,
        called("standard_backward", through),
        gradient_tensors(ir, found, through, *matrices),
        tuple(kernels),
        sums=tuple(g.total for g in found if g.total is not None),
    )


def _kernel(t: Tiles, part: str, note: str, over: tuple[str, ...], body: list[Stmt]) -> Kernel:
    return Kernel(f"{t.ir.name}_bwd_{part}", grid(*over), t.kernel_axes, tuple(body), note)


def _product_kernel(ir: AttentionIR, matrix: str, name: str, of: tuple[str, str]) -> Kernel:
    """One tile of ``rows keys^T``, to HBM."""
    t = Tiles.of(ir, KEYS)
    rows, keys = of
    note = f"{matrix} = {NAMES[rows]} {NAMES[keys]}^T"
    body: list[Stmt] = [
        *program_scalars(),
        Coords(Tile("q", ("q",), "int32"), index("q_lo")),
        *owned_keys(),
        *t.columns(),
        *t.loads(rows, ROWS_INSIDE),
        *t.loads(keys, KEYS_INSIDE),
        *t.product(name, rows, keys, note),
        Store(matrix, IN_MATRIX, Tile(name, t.axes, "acc"), PAIRS_INSIDE),
    ]
    return _kernel(t, name, f"{note}, to HBM.", ("b", "h", "q_tile", "k_tile"), body)


def _pairs_kernel(ir: AttentionIR, rows: list[Learned], through: str | None) -> Kernel:
    """P and dS of some rows, and what learned inputs get from each row."""
    t = Stored.of(ir, KEYS, [g.read for g in rows])
    sums = line_sums(t.values, t.gradient, rows, t.axes, ROWS_INSIDE)
    weights, rounded = t.kept(), t.rounded()
    step = [
        *t.scores(partial=True),
        *sums.step,
        weights,
        Store("P", IN_MATRIX, weights.dst, PAIRS_INSIDE),
        rounded,
        Store("dS", IN_MATRIX, rounded.dst, PAIRS_INSIDE),
    ]
    body: list[Stmt] = [
        *program_scalars(),
        *dropout.seed(ir),
        *dropout.head(ir),
        Coords(Tile("q", ("q",), "int32"), index("q_lo")),
        *t.columns(),
        *t.loads("do", ROWS_INSIDE),
        *prepared(t.gradient.row, t.e_pieces, through),
        *t.values.prologue,
        *t.bounds.scalars,
        *sums.start,
        *t.loops(sums.carried, lambda partial: step),
        *sums.finish,
    ]
    return _kernel(t, "ds", "P and dS of one tile of queries, S and dP from HBM.", ("b", "h", "q_tile"), body)


def _columns_kernel(ir: AttentionIR, columns: list[Learned]) -> Kernel:
    """What learned inputs get from each column of one head."""
    t = Stored.of(ir, QUERIES, [g.read for g in columns])
    sums = line_sums(t.values, t.gradient, columns, t.axes, KEYS_INSIDE)
    body: list[Stmt] = [
        *program_scalars()[:1],
        *owned_keys(),
        *dropout.seed(ir),
        *dropout.head(ir),
        *t.values.prologue,
        *t.bounds.scalars,
        *sums.start,
        *t.loops(sums.carried, lambda partial: [*t.scores(partial), *sums.step]),
        *sums.finish,
    ]
    return _kernel(t, "dcolumns", "What inputs get from one tile of keys.", ("b", "h", "k_tile"), body)


def _query_kernel(ir: AttentionIR) -> Kernel:
    """dQ = dS K."""
    t = Tiles.of(ir, KEYS)
    body: list[Stmt] = [
        *program_scalars(),
        Coords(Tile("q", ("q",), "int32"), index("q_lo")),
        *t.columns(),
        *t.zeros("dq"),
        *t.limits,
        _multiplied(t, "dq", DS, "dS", "k", "dQ = dQ + dS K"),
        *t.stored("dq", ROWS_INSIDE, ir.scale),
    ]
    return _kernel(t, "dq", "dQ = dS K.", ("b", "h", "q_tile"), body)


def _key_kernel(ir: AttentionIR, what: str, matrix: Tile, src: str, rows: str, factor: float) -> Kernel:
    """dK = dS^T Q or dV = P^T dO, over the query heads that share the KV head."""
    t = Tiles.of(ir, QUERIES)
    product, total = f"{dropout.weights(ir) if src == 'P' else src}^T {NAMES[rows]}", NAMES[what]
    head = (
        HEAD_OF_GROUP,
        *t.limits,
        _multiplied(t, what, matrix, src, rows, f"{total} = {total} + {product}"),
    )
    body: list[Stmt] = [
        *owned_keys(),
        *t.columns(),
        *t.zeros(what),
        Loop("i_head", (Range(ZERO, GROUP),), t.names(what), head, note="the query heads of this KV head"),
        *t.stored(what, KEYS_INSIDE, factor),
    ]
    return _kernel(t, what, f"{total} = {product}.", ("b", "hkv", "k_tile"), body)


def _multiplied(t: Tiles, what: str, matrix: Tile, src: str, rows: str, note: str) -> Loop:
    """``what`` summed up over all tiles of a matrix in HBM."""
    step = [
        Load(matrix, src, IN_MATRIX, PAIRS_INSIDE),
        *t.loads(rows, t.bounds.inside),
        *t.accumulated(what, matrix, rows, note),
    ]
    return every_tile(t.side, t.names(what), step if t.bounds.clean else scrubbed(step))
