"""Tiles, warps, stages, order, repetition: how a kernel is run must not change what it computes."""

from __future__ import annotations

from dataclasses import replace

import pytest

import flashgen
from flashgen.verify import Case, judge, plain, truth
from flashgen.verify.probes import mask_bits
from flashgen.verify.run import generated

from .helpers import LOCAL, run_on_poison

pytestmark = pytest.mark.gpu
CASE = Case(2, 4, 2, 333, 300, "bf16")
TILES = [(m, n) for m in (16, 32, 64, 128) for n in (16, 32, 64, 128)]


@pytest.mark.parametrize("tile", TILES, ids=lambda t: f"{t[0]}x{t[1]}")
def test_every_tile_on_poisoned_output(tile: tuple[int, int]) -> None:
    q, k, v, inputs = CASE.tensors(LOCAL, "cuda")
    expected = truth(LOCAL, q, k, v, inputs), *plain(LOCAL, q, k, v, inputs)
    for seed in (0, 3):  # two orders of the grid
        out, lse = run_on_poison(LOCAL, CASE, tile, seed=seed)
        assert judge(out, lse, *expected) == []


def test_stages_do_not_change_a_bit() -> None:
    results = [run_on_poison(LOCAL, CASE, (64, 64), 4, stages) for stages in (1, 2, 3, 4)]
    for out, lse in results[1:]:
        assert out.equal(results[0][0])
        assert lse.equal(results[0][1])


@pytest.mark.parametrize("num_warps", [1, 2, 4, 8])
def test_warps_do_not_change_the_result(num_warps: int) -> None:
    q, k, v, inputs = CASE.tensors(LOCAL, "cuda")
    out, lse = run_on_poison(LOCAL, CASE, (64, 64), num_warps)
    assert judge(out, lse, truth(LOCAL, q, k, v, inputs), *plain(LOCAL, q, k, v, inputs)) == []


def test_250_repeats_are_equal_bit_for_bit() -> None:
    q, k, v, _inputs = replace(CASE, seqlen_q=1024, seqlen_k=1024).tensors(LOCAL, "cuda")
    attn = flashgen.compile(LOCAL)
    out, lse = attn(q, k, v, return_lse=True)
    for _ in range(250):
        again, lse_again = attn(q, k, v, return_lse=True)
        assert again.equal(out)
        assert lse_again.equal(lse)


def test_a_row_does_not_depend_on_the_batch_it_is_in() -> None:
    q, k, v, _ = CASE.tensors(LOCAL, "cuda")
    run = generated((64, 64), interpreted=False)
    together, _ = run(LOCAL, q, k, v, {})
    for i in range(CASE.batch):
        alone, _ = run(LOCAL, q[i : i + 1], k[i : i + 1], v[i : i + 1], {})
        assert together[i : i + 1].equal(alone)


@pytest.mark.parametrize("tile", [(64, 32), (128, 64)], ids=str)
def test_a_window_is_exact_to_the_key(tile: tuple[int, int]) -> None:
    spec = LOCAL.replace(score="s", mask="window(31, 2)")
    q, k, v, _ = CASE.tensors(spec, "cuda")
    seen, count = mask_bits(generated(tile, interpreted=False), spec, CASE, "cuda")
    visible = truth(spec, q, k, v).visible
    assert seen.equal(visible)
    assert count.round().long().equal(visible.sum(-1))
