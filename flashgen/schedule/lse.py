"""``lse``: what a forward leaves of each row, and how a backward makes P with it.

    P = exp2(t - lse2)          with lse2 = log2(e) * lse

Where a score may be large that would be the difference of two roundings. Then ``lse`` has two parts, and
neither is multiplied before it is off:

    P = exp2((S - lse_hi) * log2(e) - lse_lo)

``lse_lo`` is what the rounding of ``lse`` lost, in base 2, and ``lse_hi`` is ``lse`` itself. A row that saw
nothing has inf there, and so P = 0.
"""

from __future__ import annotations

import math

from flashgen.expr.nodes import Expr, real
from flashgen.ir.attention import AttentionIR
from flashgen.ir.program import Load, Map, Stmt, Store, Tile

from .axes import IN_ROW, ROW, ROWS_INSIDE, statistic
from .softmax import Units
from .terms import LN_2, LOG2_E, call, is_minus_inf, tile


def row_lse(ir: AttentionIR) -> list[Stmt]:
    """lse of m and l, in natural units; -inf for a row that saw nothing. Where a backward needs it, also what
    its rounding lost, in base 2."""
    m, lse, log_sum = tile("m"), Tile("lse_q", ROW, "acc"), call("log2", tile("l"))
    if not Units.of(ir).rows:
        both = call("mul", call("add", m, log_sum), real(LN_2))
        return [Map(lse, both, "lse = m + log(l), to base e")]
    out: list[Stmt] = [Map(lse, call("add", m, call("mul", log_sum, real(LN_2))), "lse = m + log(l)")]
    if ir.lse_in_two_parts:
        lost = call("add", call("mul", call("sub", m, tile("lse_q")), real(LOG2_E)), log_sum)
        lost = call("where", is_minus_inf(tile("lse_q")), real(0.0), lost)
        out.append(Map(Tile("lse_lo_q", ROW, "acc"), lost, "what rounding it lost, in base 2"))
    return out


def lse_parts(ir: AttentionIR) -> tuple[str, ...]:
    """What a forward leaves of each row, by name."""
    return ("lse", "lse_lo") if ir.lse_in_two_parts else ("lse",)


def lse_stores(ir: AttentionIR) -> list[Stmt]:
    """What ``row_lse`` makes, to HBM."""
    return [Store(name, IN_ROW, Tile(f"{name}_q", ROW, "acc"), ROWS_INSIDE) for name in lse_parts(ir)]


def known(ir: AttentionIR) -> tuple[str, ...]:
    """The parts of ``lse`` that P is made with; the first is a backward's own."""
    return ("lse_hi", "lse_lo") if ir.large_score else ("lse2",)


def statistics(ir: AttentionIR, guard: Expr | None, sink: bool = False) -> list[Load]:
    """Loads of all that ``row_statistics`` has left, and of what a sink's share is made with."""
    own = ["lse"] if sink and _sink_alone(ir) else []
    return [statistic(name, guard) for name in (*known(ir), *own, "delta")]


def probability(ir: AttentionIR, t: Expr) -> Expr:
    """exp(S - lse) of a logit in the units of pairs."""
    if not ir.large_score:
        return call("exp2", call("sub", t, tile("lse2")))
    return call("exp2", call("sub", Units.of(ir).between(t, tile("lse_hi")), tile("lse_lo")))


def sink_share(ir: AttentionIR, sink: Expr) -> Expr:
    """exp(sink - lse) of a sink in the units of rows."""
    if not _sink_alone(ir):
        return probability(ir, sink)
    # As large as the sink, if it is: in base 2 their difference would be one of roundings.
    return call("exp2", Units.of(ir).between(sink, seen(tile("lse"))))


def _sink_alone(ir: AttentionIR) -> bool:
    """Whether a sink may be large and scores may not."""
    return ir.large_sink and not ir.large_score


def seen(lse: Expr) -> Expr:
    """``lse``, and inf for a row that saw nothing: exp2(t - inf) = 0."""
    return call("where", is_minus_inf(lse), real(math.inf), lse)
