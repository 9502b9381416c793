"""``lse``: what softmax leaves of each row in a forward, and how a backward makes P and dS with it.

    P = exp2(t - lse2)                   with lse2 = log2(e) * lse
    delta = rowsum(dO * O) - dlse        FlashAttention-2, Algorithm 2, line 4; FlashAttention, equation 4

Where a score may be large, t - lse2 would be the difference of two roundings. Then ``lse`` has two parts, and
neither is multiplied before it is off:

    P = exp2((S - lse_hi) * log2(e) - lse_lo)

``lse_lo`` is what the rounding of ``lse`` lost, in base 2, and ``lse_hi`` is ``lse`` itself. A row that saw
nothing has inf there, and so P = 0.
"""

from __future__ import annotations

import math

from flashgen.expr.nodes import Expr, real
from flashgen.expr.terms import LN_2, LOG2_E, call, is_minus_inf, tile
from flashgen.ir.attention import AttentionIR
from flashgen.ir.program import Load, Map, Stmt

from .function import Products
from .statistics import loaded, row, stored
from .units import Units


def made(ir: AttentionIR) -> list[Stmt]:
    """lse of m and l, in natural units; -inf for a row that saw nothing. Where a backward needs it, also what
    its rounding lost, in base 2."""
    m, lse, log_sum = tile("m"), row("lse_q"), call("log2", tile("l"))
    if not Units.of(ir).rows:
        both = call("mul", call("add", m, log_sum), real(LN_2))
        return [Map(lse, both, "lse = m + log(l), to base e")]
    out: list[Stmt] = [Map(lse, call("add", m, call("mul", log_sum, real(LN_2))), "lse = m + log(l)")]
    if "lse_lo" in parts(ir):
        lost = call("add", call("mul", call("sub", m, tile("lse_q")), real(LOG2_E)), log_sum)
        lost = call("where", is_minus_inf(tile("lse_q")), real(0.0), lost)
        out.append(Map(row("lse_lo_q"), lost, "what rounding it lost, in base 2"))
    return out


def parts(ir: AttentionIR) -> tuple[str, ...]:
    """What a forward leaves of each row, by name: beside ``lse`` what its rounding lost, where a backward may
    follow."""
    return ("lse", "lse_lo") if ir.large_score and ir.trained else ("lse",)


def known(ir: AttentionIR) -> tuple[str, ...]:
    """The parts of ``lse`` that P is made with; the first is a backward's own."""
    return ("lse_hi", "lse_lo") if ir.large_score else ("lse2",)


def statistic(name: str, guard: Expr | None) -> Load:
    """A part of ``lse``: inf past the end, so that P = 0 there."""
    return loaded(name, guard, 0.0 if name == "lse_lo" else math.inf)


def prepared(ir: AttentionIR, products: Products, through_lse: bool, rows: Expr) -> list[Stmt]:
    """``delta`` and ``lse2`` (or ``lse_hi``) of the rows, stored for the kernels that follow."""
    out, total = products("delta")
    note = "delta = rowsum(dO * O)"
    if through_lse:
        out.append(loaded("dlse", rows))
        total, note = call("sub", total, tile("dlse")), f"{note} - dlse"
    in_base_2 = call("mul", tile("lse"), real(LOG2_E))
    value = call("where", is_minus_inf(tile("lse")), real(math.inf), in_base_2)
    unit, first = "in base 2; ", row(known(ir)[0])
    if ir.large_score:
        unit, value = "", seen(tile("lse"))
    return [
        *out,
        Map(row("delta"), total, note),
        statistic("lse", rows),
        Map(first, value, f"{unit}a row that saw nothing: exp2(s - inf) = 0"),
        *(statistic(name, rows) for name in known(ir)[1:]),
        stored("delta", rows),
        stored(first.name, rows),
    ]


def probability(ir: AttentionIR, t: Expr) -> Expr:
    """exp(S - lse) of a logit in the units of pairs."""
    if not ir.large_score:
        return call("exp2", call("sub", t, tile("lse2")))
    return call("exp2", call("sub", Units.of(ir).between(t, tile("lse_hi")), tile("lse_lo")))


def sink_share(ir: AttentionIR, sink: Expr) -> Expr:
    """exp(sink - lse) of a sink in the units of rows."""
    if not sink_alone(ir):
        return probability(ir, sink)
    # As large as the sink, if it is: in base 2 their difference would be one of roundings.
    return call("exp2", Units.of(ir).between(sink, seen(tile("lse"))))


def sink_alone(ir: AttentionIR) -> bool:
    """Whether a sink may be large and scores may not."""
    return ir.large_sink and not ir.large_score


def seen(lse: Expr) -> Expr:
    """``lse``, and inf for a row that saw nothing: exp2(t - inf) = 0."""
    return call("where", is_minus_inf(lse), real(math.inf), lse)
