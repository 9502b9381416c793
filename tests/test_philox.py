"""Dropout's random bits: one definition, and everything that draws them equals it bit for bit."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flashgen.ir import philox as ours
from flashgen.verify import philox as definition
from flashgen.verify.philox import keep_mask, philox

ROOT = Path(__file__).resolve().parents[1]
SEEDS = [0, 1, 0xFFFFFFFF, 2**32, 2**40 + 12345, 2**63 - 1]
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")


@pytest.mark.parametrize(
    "counter, key, expected",
    [
        ((0, 0), 0, "ff1dae59 6cd10df2"),
        ((0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFF, "2c3f628b ab4fd7ad"),
        ((0x243F6A88, 0x85A308D3), 0x13198A2E, "dd7ce038 f62a4c12"),
    ],
)
def test_ten_rounds_give_the_published_vectors(counter: tuple[int, int], key: int, expected: str) -> None:
    """The known answers of Random123, the reference implementation of the paper's authors."""
    assert " ".join(f"{int(w):08x}" for w in philox(counter, key, rounds=10)) == expected


def drawn(seed: int | torch.Tensor, q: torch.Tensor, k: torch.Tensor, p: float = 0.3) -> Any:
    """The mask of 2 x 3 heads in torch."""
    return ours.kept(seed, torch.arange(6).view(2, 3, 1, 1), q, k, p).numpy()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_q, n_k", [(1, 1), (8, 9), (16, 32), (37, 70), (128, 17)])
def test_torch_equals_the_definition(seed: int, n_q: int, n_k: int) -> None:
    expected = keep_mask(seed, 2, 3, n_q, n_k, 0.3)
    q, k = torch.arange(n_q).view(-1, 1), torch.arange(n_k)
    assert np.array_equal(drawn(seed, q, k), expected)
    assert np.array_equal(drawn(torch.tensor(seed), q.flip(0), k), expected[:, :, ::-1])  # no range
    assert np.array_equal(drawn(seed, q.T, k.view(-1, 1)), expected.swapaxes(-1, -2))


@pytest.mark.parametrize("q_lo, k_lo", [(0, 0), (64, 32), (5, 16), (48, 9)])
def test_a_tile_is_a_piece_of_the_whole(q_lo: int, k_lo: int) -> None:
    tile = drawn(2**35 + 1, torch.arange(q_lo, q_lo + 32).view(-1, 1), torch.arange(k_lo, k_lo + 48))
    assert np.array_equal(
        tile, keep_mask(2**35 + 1, 2, 3, 100, 100, 0.3)[..., q_lo : q_lo + 32, k_lo : k_lo + 48]
    )


def test_programs_may_stand_at_different_tiles() -> None:
    starts = torch.tensor([[0, 16, 96], [32, 64, 16]])
    whole = keep_mask(9, 2, 3, 64, 128, 0.3)
    found = drawn(9, torch.arange(64).view(-1, 1), starts[..., None, None] + torch.arange(32))
    for (b, h), start in np.ndenumerate(starts.numpy()):
        assert np.array_equal(found[b, h], whole[b, h, :, start : start + 32])


def test_large_positions_stay_32_bit_words() -> None:
    top = 2**32 - 1
    rows, columns = torch.tensor([[top]]), torch.arange(2**32 - 32, 2**32)
    key, mix = (int(w) for w in philox((top, 2**31 - 1), top))
    words = [int(philox((top & ~8 ^ mix, k & ~8), key)[1]) for k in range(top - 31, top + 1)]
    halves = [w >> 16 if k & 8 else w & 0xFFFF for k, w in enumerate(words)]
    for p in (0.1, 0.3, 0.5, 0.7, 0.9):
        found = ours.kept(2**63 - 1, torch.tensor(top), rows, columns, p)
        assert found.flatten().tolist() == [half >= ours.threshold(p) for half in halves]


@pytest.mark.parametrize("p", [0.0, 1e-12, 0.1, 0.3, 0.5, 0.999, 1 - 2**-53])
def test_a_probability_is_held_in_units_of_2_to_the_minus_16(p: float) -> None:
    assert (p > 0) <= ours.threshold(p) < 2**16
    assert abs(ours.quantised(p) - p) <= 2**-16
    assert ours.quantised(p) == definition.quantised(p) == ours.threshold(p) / 2**16 < 1
    assert ours.threshold(ours.quantised(p)) == ours.threshold(p)


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, float("nan")])
def test_dropping_all_or_less_than_nothing_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="drop probability"):
        ours.threshold(p)


def test_nothing_is_dropped_at_zero() -> None:
    assert keep_mask(3, 1, 2, 33, 65, 0.0).all()


def related(a: Any, b: Any) -> float:
    """The correlation of two masks, in standard deviations of that of independent ones."""
    return float(abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) * a.size**0.5)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_mask_looks_random(p: float) -> None:
    """Rates of rows, columns and the whole; elements of one call, of neighbours, of heads and of seeds."""
    mask = keep_mask(2**33 + 5, 2, 2, 512, 512, p)
    sigma = (p * (1 - p)) ** 0.5
    assert abs(mask.mean() - (1 - p)) < 5 * sigma / mask.size**0.5
    for axis in (2, 3):
        assert abs(mask.mean(axis=axis) - (1 - p)).max() < 5 * sigma / 512**0.5
    for step in (1, 2, 8, 16, 64):
        assert related(mask[:, :, step:], mask[:, :, :-step]) < 5
        assert related(mask[..., step:], mask[..., :-step]) < 5
    assert related(mask[:, :, 8:, 8:], mask[:, :, :-8, :-8]) < 5
    assert related(mask, mask.swapaxes(-1, -2)[..., ::-1, :]) < 5
    assert related(mask[0], mask[1]) < 5
    assert related(mask[:, 0], mask[:, 1]) < 5
    for seed in (2**33 + 6, 5, 2**34 + 5):
        assert related(mask, keep_mask(seed, 2, 2, 512, 512, p)) < 5


def test_the_document_reproduces_a_mask() -> None:
    text = (ROOT / "docs" / "dropout.md").read_text(encoding="utf-8")
    space: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S):
        exec(compile(block, "dropout.md", "exec"), space)
    for seed in SEEDS:
        assert np.array_equal(space["keep_mask"](seed, 2, 3, 20, 37, 0.2), keep_mask(seed, 2, 3, 20, 37, 0.2))


HEAD = "import triton\nimport triton.language as tl\n\n\n"
DRAW = """

@triton.jit
def draw(seed_ptr, out_ptr, Nq, Nk, P: tl.constexpr, M: tl.constexpr, N: tl.constexpr, T: tl.constexpr):
    q_lo, k_lo, bh = tl.program_id(0) * M, tl.program_id(1) * N, tl.program_id(2)
    seed = tl.load(seed_ptr)
    seed_lo = seed.to(tl.uint32)
    seed_hi = (seed >> 32).to(tl.uint32)
    keep = dropout_keep(seed_lo, seed_hi, bh, q_lo, k_lo, P, M, N, TRANSPOSED=T)
    q, k = q_lo + tl.arange(0, M), k_lo + tl.arange(0, N)
    if T:
        keep = keep.T
    at = (bh * Nq + q[:, None]) * Nk + k[None, :]
    tl.store(out_ptr + at, keep, mask=(q[:, None] < Nq) & (k[None, :] < Nk))
"""
INTERPRET = """
import importlib.util, json, os, sys
os.environ["TRITON_INTERPRET"] = "1"
import torch
place = importlib.util.spec_from_file_location("drawing", sys.argv[1])
module = importlib.util.module_from_spec(place)
place.loader.exec_module(module)
found = {}
for line in sys.stdin:
    seed, n_q, n_k, p, m, n, turned = job = json.loads(line)
    out = torch.zeros(2, 3, n_q, n_k, dtype=torch.bool)
    module.draw[(-(-n_q // m), -(-n_k // n), 6)](torch.tensor([seed]), out, n_q, n_k, p, m, n, turned)
    found[json.dumps(job)] = out
torch.save(found, sys.argv[1] + ".pt")
"""


def run(code: str, text: str, folder: Path, given: str) -> str:
    """Output of a process that runs ``code`` on a module made of the template and ``text``."""
    path = folder / "drawing.py"
    path.write_text(
        HEAD + (ROOT / "templates/triton/philox.j2").read_text(encoding="utf-8") + text, encoding="utf-8"
    )
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, input=given, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@needs_triton
def test_kernels_draw_the_same_in_every_tiling(tmp_path: Path) -> None:
    jobs = []
    for i, (m, n) in enumerate([(16, 16), (16, 128), (32, 64), (64, 32), (128, 16), (128, 128)]):
        n_q, n_k = (37, 70) if m * n < 4096 else (150, 131)
        p = (0.1, 0.5, 0.9)[i % 3]
        jobs += [(SEEDS[i], n_q, n_k, ours.threshold(p), m, n, turned) for turned in (False, True)]
    run(INTERPRET, DRAW, tmp_path, "\n".join(json.dumps(j) for j in jobs))
    found = torch.load(tmp_path / "drawing.py.pt")
    for job in jobs:
        seed, n_q, n_k, units = job[:4]
        expected = keep_mask(seed, 2, 3, n_q, n_k, units / 2**16)
        assert np.array_equal(found[json.dumps(job)].numpy(), expected), job


ATTEND = '''

@triton.jit
def attend(
    q_ptr, k_ptr, v_ptr, o_ptr, seed_ptr, scale, Nk, M: tl.constexpr, N: tl.constexpr, P: tl.constexpr
):
    """Attention of one tile of queries, as S and P."""
    q_lo, bh = tl.program_id(0) * M, tl.program_id(1)
    d, rows, cols = tl.arange(0, 64), tl.arange(0, M), tl.arange(0, N)
    q = tl.load(q_ptr + (q_lo + rows)[:, None] * 64 + d[None, :])
    seed = tl.load(seed_ptr)
    seed_lo, seed_hi = seed.to(tl.uint32), (seed >> 32).to(tl.uint32)
    m, l = tl.full((M,), float("-inf"), tl.float32), tl.zeros((M,), tl.float32)
    o = tl.zeros((M, 64), tl.float32)
    for j in range(0, Nk // N):
        k_lo = j * N
        k = tl.load(k_ptr + (k_lo + cols)[None, :] * 64 + d[:, None])
        s = tl.dot(q, k) * scale
        m_new = tl.maximum(m, tl.max(s, axis=1))
        p = tl.exp2(s - m_new[:, None])
        alpha = tl.exp2(m - m_new)
        l = l * alpha + tl.sum(p, axis=1)
        if P:
            keep = dropout_keep(seed_lo, seed_hi, bh, q_lo, k_lo, P, M, N)
            p = tl.where(keep, p, 0.0)
        v = tl.load(v_ptr + (k_lo + cols)[:, None] * 64 + d[None, :])
        o = tl.dot(p.to(q.dtype), v, o * alpha[:, None])
        m = m_new
    tl.store(o_ptr + (q_lo + rows)[:, None] * 64 + d[None, :], (o / l[:, None]).to(q.dtype))


@triton.jit
def turned(
    q_ptr, k_ptr, v_ptr, o_ptr, seed_ptr, scale, Nk, M: tl.constexpr, N: tl.constexpr, P: tl.constexpr
):
    """The gradient of one tile of values, as S^T and P^T; v_ptr holds the gradient of O."""
    k_lo, bh = tl.program_id(0) * N, tl.program_id(1)
    d, rows, cols = tl.arange(0, 64), tl.arange(0, M), tl.arange(0, N)
    k = tl.load(k_ptr + (k_lo + cols)[:, None] * 64 + d[None, :])
    seed = tl.load(seed_ptr)
    seed_lo, seed_hi = seed.to(tl.uint32), (seed >> 32).to(tl.uint32)
    o = tl.zeros((N, 64), tl.float32)
    for j in range(0, Nk // M):
        q_lo = j * M
        q = tl.load(q_ptr + (q_lo + rows)[:, None] * 64 + d[None, :])
        p = tl.exp2(tl.dot(k, q.T) * scale)
        if P:
            keep = dropout_keep(seed_lo, seed_hi, bh, q_lo, k_lo, P, M, N, TRANSPOSED=True)
            p = tl.where(keep, p, 0.0)
        v = tl.load(v_ptr + (q_lo + rows)[:, None] * 64 + d[None, :])
        o = tl.dot(p.to(q.dtype), v, o)
    tl.store(o_ptr + (k_lo + cols)[:, None] * 64 + d[None, :], o.to(k.dtype))
'''
COMPILE = """
import importlib.util, json, re, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
place = importlib.util.spec_from_file_location("drawing", sys.argv[1])
module = importlib.util.module_from_spec(place)
place.loader.exec_module(module)
for line in sys.stdin:
    name, m, n, warps, drop = json.loads(line)
    counts = []
    for p in (0, drop):
        types = ["*bf16"] * 4 + ["*i64", "fp32", "i32"] + ["constexpr"] * 3
        signature = dict(zip(getattr(module, name).arg_names, types))
        attrs = {(i,): [["tt.divisibility", 16]] for i in range(5)}
        src = ASTSource(getattr(module, name), signature, {(7,): m, (8,): n, (9,): p}, attrs)
        options = {"num_warps": warps, "num_stages": 2}
        made = triton.compile(src, target=GPUTarget("cuda", 90, 32), options=options)
        ptx = made.asm["ptx"]
        products = len(re.findall(r"mul\\.(wide\\.u32|hi\\.u32)", ptx))
        moved = [made.asm["ttgir"].count(w) for w in ("convert_layout", "local_alloc")]
        counts.append([made.metadata.shared, *moved, ptx.count("shfl."), ptx.count("bar.sync"), products])
    print(json.dumps(counts))
"""


@needs_triton
def test_bits_cost_a_call_in_four_elements_and_never_leave_their_thread(tmp_path: Path) -> None:
    low, high = ours.threshold(0.1), ours.threshold(0.9)
    jobs = [("attend", 64, 64, 4, low), ("attend", 128, 64, 8, high)]
    jobs += [("turned", 64, 64, 4, high), ("turned", 64, 128, 8, low)]
    said = run(COMPILE, ATTEND, tmp_path, "\n".join(json.dumps(j) for j in jobs))
    for (_, m, n, warps, _), line in zip(jobs, said.splitlines(), strict=True):
        (*moved, products), (*moved_dropping, products_dropping) = json.loads(line)
        assert moved_dropping == moved  # shared memory, conversions of layouts, shuffles, barriers
        assert 0 < products_dropping - products <= 7 * m * n // (4 * 32 * warps) + 40
