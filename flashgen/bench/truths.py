"""Are the gradients right? One head of a timed call against fp64, ours judged as in ``flashgen verify``.

Dropout's keep mask follows from (b, h, q, k), and the oracle numbers the heads it is given from 0. So for the
last head of many the mask is made here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flashgen.spec.model import AttentionSpec
from flashgen.verify.carried import gradient_floors
from flashgen.verify.errors import Finding, independent_errors, judge, judge_gradients, measure
from flashgen.verify.gradients import gradients_of
from flashgen.verify.meanings import softmax
from flashgen.verify.oracle import Dense, dense, judged, scale_of, weigh
from flashgen.verify.philox import kept, quantised
from flashgen.verify.plain import plain, plain_gradients

from . import contenders
from .cases import Case
from .contenders import OURS, Data
from .report import Report
from .suites import last_head

NAMES = ("dq", "dk", "dv")
#: Rows whose random bits are made at once: what a processor's cache holds.
ROWS = 8


def check(
    case: Case,
    data: Data,
    dout: Tensor,
    backwards: Mapping[str, Callable[[], Sequence[Tensor]]],
    seed: int | None,
    report: Report,
) -> dict[str, float]:
    """Largest error of dq, dk, dv of each contender; what is wrong with ours goes into the report.

    ``seed`` is that of our dropout. Peers drop other elements, so with dropout only ours is compared. At
    16,384 tokens the bounds take some 25 tables of 2 GiB, so one head stands for all.
    """
    if case.shape.Hq != case.shape.Hkv:
        raise ValueError("one query head's dk and dv are whole only where it has its own KV head")
    gradients = {name: backward() for name, backward in backwards.items()}
    some, b, h = last_head(case, data)
    some = Data(some.q.detach(), some.k.detach(), some.v.detach(), some.inputs)
    do = dout[b:, h:]
    z = None if seed is None else factor(case.spec, seed, case.shape.B * case.shape.Hq - 1, some.q)
    right = _truth(case.spec, some, do, z)
    mine = {name: g[b:, h:] for name, g in zip(NAMES, gradients[OURS], strict=False)}
    with torch.no_grad():
        out, lse = contenders.ours_with_lse(case.spec, data, seed)
    found = _wrong_forward(case.spec, some, out[b:, h:], lse[b:, h:], z)
    found += _wrong_gradients(case.spec, some, do, z, mine, right)
    report.problems.extend(f"WRONG: {case.suite} {case.label}: {f}" for f in found)
    return {
        name: max(measure(g[b:, h:], right[n]).max for n, g in zip(NAMES, grads, strict=False))
        for name, grads in gradients.items()
        if seed is None or name == OURS
    }


def factor(spec: AttentionSpec, seed: int, head: int, like: Tensor) -> Tensor:
    """Z = keep / (1 - p) of one head, by its number b * Hq + h: (1, 1, Nq, Nk) in fp64."""
    n = like.shape[2]
    keep = torch.from_numpy(keep_of(seed, head, n, n, spec.dropout)).to(like.device)
    return keep.to(torch.float64)[None, None] / (1 - quantised(spec.dropout))


@lru_cache(maxsize=2)
def keep_of(seed: int, head: int, seqlen_q: int, seqlen_k: int, p: float) -> NDArray[np.bool_]:
    """``keep_mask`` of one head alone, some rows at a time."""
    q, k = np.arange(seqlen_q)[:, None], np.arange(seqlen_k)
    rows = (q[start : start + ROWS] for start in range(0, seqlen_q, ROWS))
    return np.concatenate([kept(seed, head, some, k, p) for some in rows])


def _dropped(spec: AttentionSpec, d: Data, z: Tensor | None) -> Dense:
    found = dense(spec, d.q, d.k, d.v, d.inputs)
    if z is None:
        return found
    return replace(found, kept=z, out=weigh(found.p * z, found.v, found.visible))


def _truth(spec: AttentionSpec, some: Data, do: Tensor, z: Tensor | None) -> dict[str, Tensor]:
    def attend(q: Tensor, k: Tensor, v: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        found = _dropped(spec, Data(q, k, v, dict(inputs)), z)
        return found.out, found.lse

    q, k, v, do = (x.double() for x in (some.q, some.k, some.v, do))
    inputs = {n: x.double() if x.is_floating_point() else x for n, x in some.inputs.items()}
    return gradients_of(attend, spec, q, k, v, inputs, do, None)


def _standard(
    q: Tensor, k: Tensor, v: Tensor, spec: AttentionSpec, visible: Tensor, z: Tensor
) -> tuple[Tensor, Tensor]:
    """Standard attention with P in the tensors' dtype and all else in fp32, dropping what ``z`` says."""
    p, lse, _ = softmax(q.float() @ k.float().mT * scale_of(spec), visible)
    return ((p * z).to(q.dtype) @ v), lse


def _wrong_forward(
    spec: AttentionSpec, some: Data, out: Tensor, lse: Tensor, z: Tensor | None
) -> list[Finding]:
    with torch.no_grad():
        found = _dropped(spec, some, z)
        if z is None:
            expected = plain(spec, some.q, some.k, some.v, some.inputs)
        else:
            expected = _standard(some.q, some.k, some.v, spec, found.visible, z.float())
        return judge(out, lse, judged(spec, found), *expected)


def _wrong_gradients(
    spec: AttentionSpec,
    some: Data,
    do: Tensor,
    z: Tensor | None,
    mine: Mapping[str, Tensor],
    right: Mapping[str, Tensor],
) -> list[Finding]:
    given = (some.q, some.k, some.v, some.inputs, do)
    floors = gradient_floors(spec, right, *given)
    if z is None:
        expected = plain_gradients(spec, *given)
    else:
        visible = dense(spec, some.q, some.k, some.v, some.inputs).visible
        expected = gradients_of(
            lambda q, k, v, _: _standard(q, k, v, spec, visible, z.float()), spec, *given, None
        )
        # The floors are those without dropout: a kept pair counts for Z, in dP and again in dV.
        floors = {n: x * z.max() ** 2 for n, x in floors.items()}
    right, expected, floors = ({n: x[n] for n in NAMES} for x in (right, expected, floors))
    return judge_gradients(mine, right, expected, floors, independent_errors(some.q, some.v, do))
