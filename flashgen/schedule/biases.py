"""Kernels of their own for learned inputs that vary along queries and keys: a bias of its own value for each
pair, and a table that pairs read at computed places."""

from __future__ import annotations

from flashgen.expr import algebra as al
from flashgen.expr.nodes import Call, Expr, integer, real
from flashgen.expr.terms import ZERO, call, index, tile
from flashgen.ir.attention import AttentionIR
from flashgen.ir.program import (
    Axis,
    Coords,
    Kernel,
    Loop,
    Map,
    Range,
    Stmt,
    Store,
    Tile,
)
from flashgen.rows.statistics import IN_ROW

from . import dropout
from .axes import GROUP, HEAD_OF_GROUP, HQ, KV_HEAD, PAIRS_INSIDE, ROWS_INSIDE, B, grid
from .bounds import KEYS
from .flash2 import program_scalars
from .gradients import Learned, bucket_sums
from .pieces import MIN_PIECE
from .recompute import Tiles, owned_keys


def dense_kernel(ir: AttentionIR, g: Learned, visited: type[Tiles] = Tiles) -> Kernel:
    """The gradient of ``bias[..., q, k]``: one tile of it, over the batches and heads that share it.

    ``visited`` says where S and dP of its tiles come from.
    """
    t = visited.of(ir, KEYS, [g.read])
    lead = [a for a in ("b", "h", "hkv") if a in g.along]
    total = Tile("total", ("q", "k"), "acc")
    (by_read,) = t.gradient.by_read
    inner: list[Stmt] = [
        *dropout.head(ir),
        *t.given(ROWS_INSIDE),
        *t.gradient.row.prepared(ROWS_INSIDE),
        *t.values.prologue,
        *t.bounds.scalars,
        *t.scores(partial=True),
        Map(total, call("add", tile("total"), t.gradient.times(by_read)), f"what {g.read.name} gets"),
    ]
    if not t.bounds.visited:
        inner = []
    over: list[tuple[str, Expr, list[Stmt]]] = []  # loops over what the bias lacks, outermost first
    if "b" not in lead:
        over.append(("b", B, []))
    if "hkv" in lead:
        over.append(("i_head", GROUP, [HEAD_OF_GROUP]))
    elif "h" in lead:
        inner = [KV_HEAD, *inner]
    else:
        over.append(("h", HQ, [KV_HEAD]))
    statements = inner
    for name, count, first in reversed(over):
        loop = Loop(name, (Range(ZERO, count),), ("total",), (*first, *statements))
        statements = [loop]
    q_lo, q_hi = program_scalars()[1:]
    body: list[Stmt] = [
        q_lo,
        q_hi,
        Coords(Tile("q", ("q",), "int32"), index("q_lo")),
        *owned_keys(),
        *dropout.seed(ir),
        *t.columns(),
        Map(total, real(0.0)),
        *statements,
        Store(g.writes, tuple(index(a) for a in g.along), total, PAIRS_INSIDE),
    ]
    return Kernel(
        name=f"{ir.name}_bwd_{g.read.name}",
        grid=grid(*lead, "q_tile", "k_tile"),
        axes=t.kernel_axes,
        body=tuple(body),
        note=f"The gradient of {g.read.name}: one tile of it, over the batches and heads that share it.",
    )


def table_kernel(ir: AttentionIR, g: Learned, visited: type[Tiles] = Tiles) -> Kernel:
    """The gradient of ``table[..., bucket]``: each row's share of every entry."""
    t = visited.of(ir, KEYS, [g.read])
    table, size = Tile("table", ("q", "entry"), "acc"), max(MIN_PIECE, 1 << (g.entries - 1).bit_length())
    sums = bucket_sums(g, t.values, t.gradient)
    assert g.bucket is not None
    also = (t.values.load_reads(g.bucket),)
    body: list[Stmt] = [
        *program_scalars(),
        *dropout.seed(ir),
        *dropout.head(ir),
        Coords(Tile("q", ("q",), "int32"), index("q_lo")),
        *t.columns(),
        Coords(Tile("entry", ("entry",), "int32"), integer(0)),
        *t.given(ROWS_INSIDE),
        *t.gradient.row.prepared(ROWS_INSIDE),
        *t.values.prologue,
        *t.bounds.scalars,
        Map(table, real(0.0)),
        *t.loops(("table",), lambda partial: [*t.scores(partial, also), *sums]),
        Store(g.writes, (*IN_ROW, index("entry")), table, al.both(ROWS_INSIDE, _entries(g.entries))),
    ]
    return Kernel(
        name=f"{ir.name}_bwd_{g.read.name}",
        grid=grid("b", "h", "q_tile"),
        axes=(*t.kernel_axes, Axis("entry", integer(size))),
        body=tuple(body),
        note=f"The gradient of {g.read.name}: each row's share of its entries.",
        longest=t.bounds.longest,
    )


def _entries(n: int) -> Expr:
    return Call("lt", (index("entry"), integer(n)), "bool")
