"""Counts derived from a program are, to the element, what the interpreter reads, writes and computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashgen.count.counts import Counts, Numbers, counts
from flashgen.count.number import TooManyTiles
from flashgen.driver import SCHEDULES, lower_spec
from flashgen.expr.evaluate import evaluate_python
from flashgen.expr.nodes import Call, Expr, Var, integer, real, rewrite
from flashgen.interpret.run import Traffic, lengths, run
from flashgen.ir.program import Load, Loop, Program, Stmt, Store
from flashgen.ir.workload import Workload
from flashgen.plan.model.cost import kernel_cost
from flashgen.plan.model.facts import facts
from flashgen.plan.model.tiling import tiling
from flashgen.plan.plan import KernelPlan, Order
from flashgen.spec.model import AttentionSpec
from flashgen.targets.target import load_target
from flashgen.verify.case import Case
from flashgen.verify.specs import cases, specs
from tests.rows.schedules import schedules

TILES = ((16, 16), (32, 16), (16, 32), (64, 16), (16, 64), (32, 32))
Tensors = Mapping[str, torch.Tensor]


def tensors(p: Program, spec: AttentionSpec, case: Case) -> dict[str, torch.Tensor]:
    """The tensors of one call; what a forward pass would have left is random."""
    q, k, v, inputs = case.tensors(spec)
    found = {"q": q, "k": k, "v": v, **inputs}
    names = lengths(found)
    acc = torch.float64 if q.dtype == torch.float64 else torch.float32
    for t in p.tensors:
        shape = [int(evaluate_python(n, names)) for n in t.dims]
        if t.role == "saved":
            found[t.name] = torch.ones(shape, dtype=q.dtype if t.dtype == "elem" else acc)
        elif t.role == "seed":
            found[t.name] = torch.tensor([case.dropout])
    return found


def both(
    p: Program, given: Tensors, tile: tuple[int, int], dtype: str = "fp32", of: Counts | None = None
) -> tuple[Traffic, Numbers]:
    """What the interpreter counts, and what the formulas say."""
    sides = {"BLOCK_M": tile[0], "BLOCK_N": tile[1]}
    seen = Traffic()
    run(p, sides, given, check=True, traffic=seen)
    items = {name: x.element_size() for name, x in given.items()}
    return seen, (of or counts(p)).at(Workload(**lengths(given)), sides, dtype, items, given)


def same(seen: Traffic, said: Numbers) -> None:
    assert {n: b for n, b in said.read.items() if b} == {n: b for n, b in seen.read.items() if b}
    assert {n: b for n, b in said.written.items() if b} == {n: b for n, b in seen.written.items() if b}
    assert said.flops == seen.flops
    assert said.exponentials == seen.exponentials
    assert said.on_chip >= seen.on_chip  # equal once every loop makes two passes


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_formulas_equal_what_is_counted(data: st.DataObject) -> None:
    """Random specs with every kind of mask, input, sink and dropout; random lengths, heads and tiles."""
    spec = data.draw(specs(training=True), "spec")
    schedule = data.draw(st.sampled_from(sorted(schedules(spec))), "schedule")
    case = data.draw(cases(spec, ("fp32", "bf16", "fp64"), longest=100, tiles=TILES, most_heads=4), "case")
    p = lower_spec(spec, schedule).program
    same(*both(p, tensors(p, spec, case), case.tile, case.dtype))


def program(
    mask: str | None = None, schedule: str = "flash2", **fields: Any
) -> tuple[Program, AttentionSpec]:
    spec = AttentionSpec(**{"name": "x", "head_dim": 24, "mask": mask, **fields})
    return lower_spec(spec, schedule).program, spec


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
@pytest.mark.parametrize("mask", [None, "causal", "window(40, 40)"])
@pytest.mark.parametrize("tile", [(32, 16), (16, 32)])
def test_on_chip_bytes_are_the_most_that_is_held(
    schedule: str, mask: str | None, tile: tuple[int, int]
) -> None:
    """Equal, and not only at least, where every loop makes two passes."""
    p, spec = program(mask, schedule)
    seen, said = both(p, tensors(p, spec, Case(1, 4, 2, 150, 220)), tile)
    same(seen, said)
    assert said.on_chip == seen.on_chip


def off_by_one(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """``body`` whose guards of queries let one row less through."""
    length = Var("Nq", "int")

    def less(e: Expr | None) -> Expr | None:
        one_less = Call("sub", (length, integer(1)), "int")
        return None if e is None else rewrite(e, lambda n: one_less if n == length else None)

    out: list[Stmt] = []
    for s in body:
        if isinstance(s, Loop):
            s = replace(s, body=off_by_one(s.body))
        elif isinstance(s, Load | Store):
            s = replace(s, guard=less(s.guard))
        out.append(s)
    return tuple(out)


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_one_row_less_is_seen(schedule: str) -> None:
    """The comparison fails when the formula leaves out one row that the interpreter takes."""
    p, spec = program("causal", schedule)
    wrong = replace(p, kernels=tuple(replace(k, body=off_by_one(k.body)) for k in p.kernels))
    given = tensors(p, spec, Case(2, 2, 1, 50, 70))
    same(*both(p, given, (16, 16)))
    with pytest.raises(AssertionError):
        same(*both(p, given, (16, 16), of=counts(wrong)))


LENGTH = {"length": {"shape": ["batch"], "dtype": "int"}}


def test_lengths_read_from_an_input() -> None:
    """The formula names the element; numbers take the tensor, or Nk, the most it can mean."""
    p, spec = program("(k < length[b]) & causal", inputs=LENGTH)
    c = counts(p)
    assert c.data == {"length"}
    assert "length(b)" in str(c.exact.read("k"))
    given = tensors(p, spec, Case(3, 2, 1, 90, 90))
    sides, w = {"BLOCK_M": 32, "BLOCK_N": 16}, Workload(**lengths(given))
    most = c.at(w, sides)
    for length in ([90, 90, 90], [17, 0, 64], [5, 89, 33]):
        given["length"] = torch.tensor(length)
        seen, said = both(p, given, (32, 16))
        same(seen, said)
        assert said.flops <= most.flops
    full = {**given, "length": torch.tensor([90, 90, 90])}
    assert c.at(w, sides, inputs=full) == most


def test_a_guard_over_computed_floats_lets_every_element_count() -> None:
    p, _ = program()
    wild = Call("gt", (Var("lse_q", "float"), real(0.0)), "bool")
    (kernel,) = p.kernels
    body = tuple(
        replace(s, guard=wild) if isinstance(s, Store) and s.dst == "lse" else s for s in kernel.body
    )
    c = counts(replace(p, kernels=(replace(kernel, body=body),)))
    assert c.loose == {"lse in x_fwd"}
    assert counts(p).loose == frozenset()
    said = c.at(Workload(2, 2, 1, 50, 50), {"BLOCK_M": 32, "BLOCK_N": 16})
    assert said.written["lse"] == 2 * 2 * 64 * 4


def test_200_choices_of_sides_take_no_time() -> None:
    p, _ = program("window(1024, 0)", head_dim=128)
    w, found = Workload(2, 32, 8, 16384, 16384), set()
    for m in range(16, 336, 16):
        for n in range(16, 176, 16):
            found.add(counts(p).at(w, {"BLOCK_M": m, "BLOCK_N": n}).requested)
    assert len(found) > 150


def test_a_count_of_too_many_tiles_is_refused_before_they_are_made() -> None:
    sides = {"BLOCK_M": 64, "BLOCK_N": 64}
    with pytest.raises(TooManyTiles, match="more than 16,777,216 tiles"):
        counts(program("causal")[0]).at(Workload(1, 1, 1, 10**11, 10**11), sides)
    # Nothing to add up without a mask, and numbers past 64 bits stay exact.
    n = 1 << 40
    said = counts(program(None, head_dim=64)[0]).at(Workload(1, 1, 1, n, n), sides)
    assert said.flops == 2 * 2 * 64 * n * n
    assert said.read["k"] == 2 * 64 * n * (n // 64)


@pytest.mark.parametrize("schedule", ["flash2", "backward"])
@pytest.mark.parametrize("mask", [None, "causal"])
def test_the_time_model_counts_the_same_but_for_padding(schedule: str, mask: str | None) -> None:
    """Where sides divide lengths only the time model's sampling of rows is left."""
    p, _ = program(mask, schedule, head_dim=64)
    target, w = load_target("h100"), Workload(2, 8, 4, 4096, 4096)
    for f in facts(p):
        sides = (("BLOCK_M", 64), ("BLOCK_N", 64))
        t = tiling(f, KernelPlan(sides, 4, 2, Order(tuple(a.name for a in f.kernel.grid))), "bf16", target)
        cost, exact = kernel_cost(t, w), f.counts.at(w, dict(sides))
        assert cost.l2_bytes == pytest.approx(sum(exact.read.values()), rel=0.05)
        assert cost.flops == pytest.approx(exact.flops, rel=0.05)
