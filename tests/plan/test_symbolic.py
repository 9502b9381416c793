"""Formulas as sympy expressions: exact ones and closed ones give the numbers that counting gives."""

from __future__ import annotations

import pytest
import sympy

from flashgen.count.counts import Counts, counts
from flashgen.count.symbolic import symbol
from flashgen.count.symbolic_counts import Formulas
from flashgen.count.tradeoff import filled, leading_of, theta
from flashgen.driver import SCHEDULES, lower_spec
from flashgen.ir.workload import Workload
from flashgen.spec import load_spec
from flashgen.spec.gallery import find
from flashgen.spec.model import AttentionSpec

from .programs import program


def value(e: sympy.Expr, w: Workload, tile: tuple[int, int], d: int) -> int:
    """``e`` at numbers; sides are powers of two where it has quotients, so that those are exact."""
    names = {
        **w.names(),
        "N": w.Nq,
        "BLOCK_M": tile[0],
        "BLOCK_N": tile[1],
        "d": d,
        "elem_bytes": 2,
        "acc_bytes": 4,
    }
    found = sympy.lambdify([symbol(n) for n in names], e, "math", cse=False)(*names.values())
    assert found == round(found)
    return int(found)


def agree(c: Counts, f: Formulas, w: Workload, tile: tuple[int, int], d: int) -> None:
    said = c.at(w, {"BLOCK_M": tile[0], "BLOCK_N": tile[1]})
    for tensor in {"k", "lse", *said.written}:
        assert value(f.read(tensor), w, tile, d) == said.read.get(tensor, 0)
        assert value(f.written(tensor), w, tile, d) == said.written.get(tensor, 0)
    assert value(f.requested, w, tile, d) == said.requested
    assert value(f.flops, w, tile, d) == said.flops
    assert value(f.exponentials, w, tile, d) == said.exponentials
    assert value(f.on_chip, w, tile, d) == said.on_chip


EXACT = [("flash2", "window(20, 3)"), ("backward", "causal"), ("standard", None)]


@pytest.mark.slow
@pytest.mark.parametrize("schedule, mask", EXACT)
def test_exact_formulas_hold_where_nothing_divides(schedule: str, mask: str | None) -> None:
    c = counts(program(40, mask, schedule=schedule))
    agree(c, c.exact, Workload(2, 4, 2, 37, 53), (16, 32), 40)


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
@pytest.mark.parametrize("mask", [None, "causal"])
def test_closed_forms_have_no_sums_and_hold_where_sides_divide(schedule: str, mask: str | None) -> None:
    c = counts(program(96, mask, schedule=schedule))
    assert c.closed.assuming
    for e in (c.closed.requested, c.closed.flops, c.closed.exponentials):
        assert not e.has(sympy.Sum, sympy.floor, sympy.ceiling, sympy.Min, sympy.Max)
    tile = (64, 16) if "BLOCK_N divides BLOCK_M" in c.closed.assuming else (32, 48)
    agree(c, c.closed, Workload(2, 4, 2, 192, 192), tile, 96)


def test_the_traffic_of_flash_attention_is_read_off() -> None:
    """Q and O once, K and V once for each tile of rows; half of that under a causal mask."""
    B, Hq, N, d, side, item, acc = map(symbol, ("B", "Hq", "N", "d", "BLOCK_M", "elem_bytes", "acc_bytes"))
    full = counts(program(64)).closed.requested.subs({symbol("Nq"): N, symbol("Nk"): N})
    rows = B * Hq * N
    assert sympy.expand(full - (item * rows * d * (2 + 2 * N / side) + acc * rows)) == 0
    causal = counts(program(64, "causal")).closed.requested
    assert sympy.expand(causal - (item * rows * d * (2 + (N + side) / side) + acc * rows)) == 0


@pytest.mark.parametrize("mask", [None, "causal"])
@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_traffic_grows_as_the_papers_say(schedule: str, mask: str | None) -> None:
    """FlashAttention, Theorems 2 and 5: N^2 d^2 / M against N d + N^2, forward and backward."""
    growth = "Theta(N^2)" if "standard" in schedule else "Theta(N^2 d^2 / M)"
    assert theta(leading_of(filled(counts(program(64, mask, schedule=schedule))))) == growth


def test_tiles_fill_memory() -> None:
    (forward,) = filled(counts(program(64)))
    sides = dict(forward.sides)
    assert sides["BLOCK_N"] == symbol("d")
    c, at = (
        counts(program(64)),
        {symbol(n): x for n, x in {"M": 200_000, "d": 64, "elem_bytes": 2, "acc_bytes": 4}.items()},
    )
    rows = int(sides["BLOCK_M"].subs(at))
    assert (
        c.on_chip_at({"BLOCK_M": rows, "BLOCK_N": 64})
        <= 200_000
        < c.on_chip_at({"BLOCK_M": rows + 1, "BLOCK_N": 64})
    )


def test_what_has_no_closed_form_keeps_its_sum() -> None:
    c = counts(program(64, "window(1024, 0)"))
    assert c.closed.assuming == ()
    assert c.closed.requested.has(sympy.Sum)
    assert filled(c) == ()


def test_two_head_dims_have_two_symbols() -> None:
    spec = AttentionSpec(name="x", head_dim={"qk": 192, "v": 128})
    c = counts(lower_spec(spec).program)
    B, Hq, Nq, Nk, d, d_v = map(symbol, ("B", "Hq", "Nq", "Nk", "d", "d_v"))
    assert sympy.expand(c.closed.flops - 2 * B * Hq * Nq * Nk * (d + d_v)) == 0


def test_a_guard_over_computed_places_is_named() -> None:
    """A table read at a bucket of the distance: its guard has more cases than sympy should unfold."""
    c = counts(lower_spec(load_spec(find("t5_bias"))).program)
    assert "inside(" in str(c.exact.requested)
