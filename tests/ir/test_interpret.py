"""The interpreter is the meaning of a ``Program``: checked, counted, and equal in both of its modes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from flashgen.driver import lower_spec
from flashgen.expr.nodes import TRUE, integer
from flashgen.interpret.access import OutOfBounds
from flashgen.interpret.run import Traffic, run
from flashgen.ir.program import Kernel, Load, Loop, Program, Range, Stmt
from flashgen.spec.model import AttentionSpec

SIDES = {"BLOCK_M": 32, "BLOCK_N": 16}


def tensors(
    Nq: int = 70, Nk: int = 90, D: int = 16, heads: tuple[int, int] = (4, 2)
) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return {
        "q": torch.randn(2, heads[0], Nq, D, generator=g),
        "k": torch.randn(2, heads[1], Nk, D, generator=g),
        "v": torch.randn(2, heads[1], Nk, D, generator=g),
    }


def program(schedule: str = "flash2", **spec: object) -> Program:
    return lower_spec(AttentionSpec(name="plain", head_dim=16, **spec), schedule).program


def with_body(p: Program, body: tuple[Stmt, ...]) -> Program:
    kernel: Kernel = p.kernels[0]
    return replace(p, kernels=(replace(kernel, body=body), *p.kernels[1:]))


def without_guards(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    out: list[Stmt] = []
    for s in body:
        if isinstance(s, Loop):
            s = replace(s, body=without_guards(s.body))
        elif isinstance(s, Load):
            s = replace(s, guard=None)
        out.append(s)
    return tuple(out)


def test_checking_changes_nothing() -> None:
    p = program(mask="causal")
    fast, checked = run(p, SIDES, tensors()), run(p, SIDES, tensors(), check=True)
    assert torch.equal(fast["o"], checked["o"])
    assert torch.equal(fast["lse"], checked["lse"])


def test_a_load_without_its_guard_is_out_of_bounds() -> None:
    p = program()
    bare = with_body(p, without_guards(p.kernels[0].body))
    with pytest.raises(OutOfBounds):
        run(bare, SIDES, tensors(), check=True)


def test_a_loop_one_tile_too_far_is_out_of_bounds() -> None:
    p = program()
    body = tuple(
        replace(s, domain=(Range(integer(0), integer(6)),)) if isinstance(s, Loop) and s.mask == "full" else s
        for s in p.kernels[0].body
    )
    with pytest.raises(OutOfBounds):
        run(with_body(p, body), SIDES, tensors(), check=True)


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 12, 1 << 30])
def test_chunks_of_batch_and_heads_change_nothing(chunk_bytes: int) -> None:
    p = program(mask="k < 40 + 10 * h")
    whole = run(p, SIDES, tensors())
    parts = run(p, SIDES, tensors(), chunk_bytes=chunk_bytes)
    torch.testing.assert_close(whole, parts)


def test_bytes_are_counted_from_the_slices_taken() -> None:
    """Without a mask every q tile reads all of K and V, in whole tiles and a rest."""
    given, traffic = tensors(), Traffic()
    run(program(), SIDES, given, check=True, traffic=traffic)
    q, k = given["q"], given["k"]
    q_tiles = math.ceil(q.shape[2] / SIDES["BLOCK_M"])
    assert traffic.read["q"] == q.numel() * 4
    assert traffic.read["k"] == traffic.read["v"] == 2 * k.numel() * 4 * q_tiles  # two heads a KV head
    assert traffic.written == {"o": q.numel() * 4, "lse": q.numel() // 16 * 4}


def test_standard_attention_pays_for_its_matrices() -> None:
    given, traffic = tensors(), Traffic()
    run(program("standard"), SIDES, given, check=True, traffic=traffic)
    pairs = 2 * 4 * 70 * 90
    assert traffic.written["S"] == traffic.written["P"] == pairs * 4
    assert traffic.read["S"] == 2 * pairs * 4  # two passes of the softmax


def test_empty_tiles_are_not_read() -> None:
    """A causal window reads fewer keys than full attention by what its bounds leave out."""
    given = tensors(96, 96)
    seen: dict[str, int] = {}
    for name, mask in {"full": None, "causal": "causal", "window": "window(15, 0)"}.items():
        traffic = Traffic()
        run(program(mask=mask), SIDES, given, check=True, traffic=traffic)
        seen[name] = traffic.read["k"] // (2 * 4 * 16 * 4)
    assert seen == {"full": 3 * 96, "causal": 32 + 64 + 96, "window": 32 + 48 + 48}


def test_bounds_that_differ_between_programs() -> None:
    """Per-batch lengths and per-head windows: each program loops over its own tiles."""
    inputs = {"len": {"shape": ["batch"], "dtype": "int"}, "left": {"shape": ["heads"], "dtype": "int"}}
    p = program(mask="(k < len[b]) & (qpos - k <= left[h]) & causal", inputs=inputs)
    given = tensors(90, 90)
    lens, left = torch.tensor([17, 80]), torch.tensor([0, 5, 33, 90])
    got = run(p, SIDES, {**given, "len": lens, "left": left}, check=True)
    for b in range(2):
        for h in range(4):
            alone = program(mask=f"(k < {lens[b]}) & (qpos - k <= {left[h]}) & causal")
            one = {n: t[b : b + 1, (h if n == "q" else h // 2) :][:, :1] for n, t in given.items()}
            expected = run(alone, SIDES, one)
            torch.testing.assert_close(got["o"][b, h], expected["o"][0, 0])
            torch.testing.assert_close(got["lse"][b, h], expected["lse"][0, 0])


def test_stores_of_programs_that_differ_in_their_tiles() -> None:
    """Where each batch and head has bounds of its own, a program stores to its own rows and no others."""
    inputs = {"len": {"shape": ["batch"], "dtype": "int"}, "left": {"shape": ["heads"], "dtype": "int"}}
    mask = "(k < len[b]) & (qpos - k <= left[h]) & causal"
    given = tensors(90, 90) | {"len": torch.tensor([17, 80]), "left": torch.tensor([0, 5, 33, 90])}
    expected = run(program(mask=mask, inputs=inputs), SIDES, given)
    traffic = Traffic()
    got = run(program("flash1", mask=mask, inputs=inputs), SIDES, given, check=True, traffic=traffic)
    torch.testing.assert_close(got, expected)
    passes = traffic.written["l"] // (4 * 90)  # of whole heads: the first values, and less than each tile
    assert 8 <= passes < 8 * (1 + math.ceil(90 / SIDES["BLOCK_N"]))


def test_constants_are_as_exact_as_the_tensors() -> None:
    given = {n: t.double() for n, t in tensors().items()}
    seen = run(program(sink="0.1"), SIDES, given)["lse"]
    none = run(program(), SIDES, given)["lse"]
    torch.testing.assert_close(
        seen.exp() - none.exp(), torch.full_like(seen, math.exp(0.1)), rtol=1e-12, atol=0
    )


def test_fp64_stays_fp64() -> None:
    given = {n: t.double() for n, t in tensors().items()}
    out = run(program(), SIDES, given)
    s = given["q"] @ given["k"].repeat_interleave(2, 1).transpose(-1, -2) / 4
    expected = torch.softmax(s, -1) @ given["v"].repeat_interleave(2, 1)
    assert out["o"].dtype == out["lse"].dtype == torch.float64
    torch.testing.assert_close(out["o"], expected, rtol=1e-12, atol=1e-12)


def test_a_guard_that_always_holds_is_no_guard() -> None:
    p = program()
    body = tuple(replace(s, guard=TRUE) if isinstance(s, Load) else s for s in p.kernels[0].body)
    given = tensors(64, 80)
    torch.testing.assert_close(run(with_body(p, body), SIDES, given), run(p, SIDES, given))
