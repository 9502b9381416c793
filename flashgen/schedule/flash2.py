"""FlashAttention-2 forward (Algorithm 1): one program per q tile, K and V streamed through it.

``AttentionIR`` -> ``Program``. Two loops over k: all full tiles without mask code, then all partial
tiles, as a row function does not care for order. What is carried from tile to tile, how O is rescaled
and how it ends, the row function says (``rows/``).
"""

from __future__ import annotations

from collections.abc import Callable

from flashgen.expr import algebra as al
from flashgen.expr.nodes import Call, Expr, integer, real
from flashgen.expr.terms import index, tile
from flashgen.ir.attention import AttentionIR
from flashgen.ir.program import (
    Axis,
    Coords,
    Dot,
    Kernel,
    Load,
    Map,
    Program,
    Scalar,
    Stmt,
    Store,
    Tensor,
    Tile,
)
from flashgen.rows import RowFunction, row_function
from flashgen.rows.function import Logit, Noted, S
from flashgen.rows.statistics import IN_ROW, ROW

from . import dropout
from .axes import BLOCK_M, BLOCK_N, HKV, HQ, KV_HEAD, NK, NQ, ROWS_INSIDE, B, grid
from .bounds import KEYS, Bounds, mask_bounds
from .loops import visits
from .pieces import Piece, pieces
from .values import Values


def flash2(ir: AttentionIR) -> Program:
    """The forward program: out ``o`` (B, Hq, Nq, Dv), and what is left of each row (B, Hq, Nq)."""
    d_pieces, e_pieces = pieces(ir.d_qk, "d"), pieces(ir.d_v, "e")
    row, values = row_function(ir), Values(ir)
    score = values.load_reads(ir.score)
    mask = None if ir.mask is None else values.load_uniform(ir.mask)
    bounds = mask_bounds(mask)
    visible, seen = (values.hoist(values.load_reads(e)) for e in (bounds.visible, bounds.seen))
    t = row.logit(score).hoisted(values)

    before = row.start(values)
    body: list[Stmt] = [
        *program_scalars(),
        *dropout.seed(ir),
        *dropout.head(ir),
        *tile_rows(d_pieces, e_pieces),
        *(load_q(p) for p in d_pieces),
        *values.prologue,
        *bounds.scalars,
        *before,
        *(Map(accumulator(p), real(0.0)) for p in e_pieces),
    ]
    carried = (*row.carried, *(accumulator(p).name for p in e_pieces))
    body += visits(
        bounds,
        KEYS,
        carried,
        lambda partial: _step(
            row, t, values, bounds, (visible, seen) if partial else None, d_pieces, e_pieces
        ),
        rows=ROWS_INSIDE,
    )
    body += epilogue(row, e_pieces)

    kernel = Kernel(
        name=f"{ir.name}_fwd",
        grid=grid("b", "h", "q_tile"),
        axes=(
            Axis("q", BLOCK_M),
            Axis("k", BLOCK_N),
            *(Axis(p.name, integer(p.size)) for p in d_pieces + e_pieces),
        ),
        body=tuple(body),
        note=f"FlashAttention-2 forward: {results(row)} of one tile of queries.",
        longest=bounds.longest,
    )
    return Program(ir.name, "flash2", tensors(ir), (kernel,))


def tensors(ir: AttentionIR, *workspaces: Tensor) -> tuple[Tensor, ...]:
    """The tensors of a forward program, in argument order."""
    d, e = integer(ir.d_qk), integer(ir.d_v)
    dtype = {"float": "acc", "int": "int32", "bool": "bool"}
    return (
        Tensor("q", (B, HQ, NQ, d), "elem", "q"),
        Tensor("k", (B, HKV, NK, d), "elem", "k"),
        Tensor("v", (B, HKV, NK, e), "elem", "v"),
        *(Tensor(i.name, i.dims, dtype[i.type], "input") for i in ir.inputs),
        *dropout.seed_tensors(ir),
        *workspaces,
        Tensor("o", (B, HQ, NQ, e), "elem", "out"),
        *(Tensor(name, (B, HQ, NQ), "acc", "out") for name in row_function(ir).left),
    )


def program_scalars() -> list[Stmt]:
    """The KV head of this program and the first and last row of its q tile."""
    q_hi = al.sub(Call("min", (al.add(index("q_lo"), BLOCK_M), NQ), "int"), integer(1))
    return [
        KV_HEAD,
        Scalar("q_lo", al.mul(index("q_tile"), BLOCK_M)),
        Scalar("q_hi", q_hi, "the last row of this tile"),
    ]


def tile_rows(*groups: tuple[Piece, ...]) -> list[Stmt]:
    """The rows of the q tile and the columns of every piece."""
    return [Coords(Tile("q", ROW, "int32"), index("q_lo")), *columns(*groups)]


def columns(*groups: tuple[Piece, ...]) -> list[Stmt]:
    """The column numbers of every piece."""
    return [Coords(Tile(p.name, (p.name,), "int32"), integer(p.start)) for g in groups for p in g]


def columns_inside(p: Piece, *guards: Expr) -> Expr | None:
    """``guards`` and, for a padded piece, the bound on its columns."""
    parts = [*guards]
    if p.padded:
        parts.append(Call("lt", (index(p.name), integer(p.total)), "bool"))
    return al.both(*parts) if parts else None


def accumulator(p: Piece) -> Tile:
    """The output accumulator of a piece of V's head dim."""
    return Tile(f"o{p.name[1:]}", ("q", p.name), "acc")


def load_q(p: Piece) -> Load:
    """One piece of the q tile."""
    dst = Tile(f"q{p.name[1:]}", ("q", p.name), "elem")
    at = (*IN_ROW, index(p.name))
    return Load(dst, "q", at, columns_inside(p, ROWS_INSIDE))


def load_keys(p: Piece, inside: Expr | None) -> Load:
    """One piece of the k tile, transposed by its axes."""
    dst = Tile(f"k{p.name[1:]}", (p.name, "k"), "elem")
    at = (index("b"), index("hkv"), index("k"), index(p.name))
    return Load(dst, "k", at, columns_inside(p, *([inside] if inside is not None else [])))


def scores(ir: AttentionIR, d_pieces: tuple[Piece, ...], inside: Expr | None) -> list[Stmt]:
    """K tiles and S = Q K^T, one dot per piece into one accumulator, the short dot first.

    The next dot waits for the one before it: the short one costs the shorter wait.
    """
    out: list[Stmt] = []
    for i, p in enumerate(reversed(d_pieces)):
        keys, queries = load_keys(p, inside), load_q(p).dst
        acc = tile("s") if i else None
        note = "" if i else "S = Q K^T"
        out += [keys, Dot(S, queries, keys.dst, p.name, acc, precision(ir), note)]
    return out


def precision(ir: AttentionIR) -> str:
    """How fp32 operands are multiplied."""
    return "tf32" if ir.tf32 else "ieee"


def weighted_values(
    ir: AttentionIR,
    e_pieces: tuple[Piece, ...],
    inside: Expr | None,
    p: Tile,
    before: Callable[[Expr], Noted] = lambda o: Noted(o, "O"),
) -> list[Stmt]:
    """O = O + P V for the weights ``p`` in the element type; ``before``: what O was, as it counts now."""
    out: list[Stmt] = []
    for piece in e_pieces:
        o, v = accumulator(piece), Tile(f"v{piece.name[1:]}", ("k", piece.name), "elem")
        at = (index("b"), index("hkv"), index("k"), index(piece.name))
        acc, noted = before(tile(o.name))
        guards = [inside] if inside is not None else []
        out += [
            Load(v, "v", at, columns_inside(piece, *guards)),
            Dot(o, p, v, "k", acc, precision(ir), f"O = {noted} + {dropout.weights(ir)} V"),
        ]
    return out


def _step(
    row: RowFunction,
    t: Logit,
    values: Values,
    bounds: Bounds,
    partial: tuple[Expr, Expr] | None,
    d_pieces: tuple[Piece, ...],
    e_pieces: tuple[Piece, ...],
) -> list[Stmt]:
    """One k tile: scores, weights, weighted values. ``partial``: which pairs are visible, and which
    keys are seen; None where all are."""
    ir, (visible, seen) = row.ir, partial or (None, None)
    inside = bounds.inside if partial else None
    rounded = Tile("p_elem", ("q", "k"), "elem")
    step = row.step(t, visible, visible is not None and bounds.rows_may_be_empty)
    return [
        *scores(ir, d_pieces, inside),
        *values.in_loop(t.value, *(partial or ()), bounds=inside),
        *step.weights,
        *dropout.drawn(ir, ("q", "k")),
        Map(rounded, dropout.kept(ir, tile("p")), "P in the input precision, for the matrix units"),
        *weighted_values(ir, e_pieces, seen, rounded, row.rescaled),
        *step.close,
    ]


def epilogue(row: RowFunction, e_pieces: tuple[Piece, ...]) -> list[Stmt]:
    """The result and what is left of each row; O of a row that saw nothing is 0."""
    out: list[Stmt] = row.finish()
    for p in e_pieces:
        o = accumulator(p)
        final = Tile(f"{o.name}_elem", o.axes, "elem")
        out += [
            Map(final, *row.scaled(tile(o.name))),
            Store("o", (*IN_ROW, index(p.name)), final, columns_inside(p, ROWS_INSIDE)),
        ]
    return [*out, *row.stores(ROWS_INSIDE)]


def results(row: RowFunction) -> str:
    """What a forward makes, as notes call it."""
    return " and ".join(("O", *row.left[:1]))
