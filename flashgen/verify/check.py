"""One case on one backend: run it, and say what is wrong with the result."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch

from flashgen.spec.model import AttentionSpec

from .case import Case
from .errors import Finding, judge
from .oracle import truth
from .plain import plain
from .run import PLANNED, Run, compiled, generated, program

Backend: TypeAlias = Literal["cpu", "triton-interpreted", "cuda"]


def check(spec: AttentionSpec, case: Case, backend: Backend | Run = "cpu") -> list[Finding]:
    """Everything wrong with ``spec`` on ``case``; empty means right.

    ``backend`` may be a function of one's own. ``triton-interpreted`` runs in a process of its own, since
    Triton decides at import whether it interprets.
    """
    if not isinstance(backend, str):
        return check_run(spec, case, backend)
    if backend == "triton-interpreted":
        from .worker import shared_worker

        return shared_worker().check(spec, case)
    if backend == "cuda":
        run = compiled if case.tile == PLANNED else generated(case.tile, interpreted=False)
        return check_run(spec, case, run, "cuda")
    return check_run(spec, case, compiled if case.tile == PLANNED else program(case.tile))


def check_interpreted(spec: AttentionSpec, case: Case) -> list[Finding]:
    """``check`` of the generated kernel, in a process that has ``TRITON_INTERPRET=1``."""
    return check_run(spec, case, generated(case.tile, interpreted=True, seed=case.seed % 6))


def check_run(spec: AttentionSpec, case: Case, run: Run, device: str = "cpu") -> list[Finding]:
    """``check`` for a function that runs in this process."""
    q, k, v, inputs = case.tensors(spec, device)
    out, lse = run(spec, q, k, v, inputs)
    wrong = [
        Finding(name, f"dtype {x.dtype} instead of {dtype}:", 1, 0)
        for name, x, dtype in (("out", out, q.dtype), ("lse", lse, torch.float32))
        if x.dtype != dtype
    ]
    right = truth(spec, q, k, v, inputs)
    return wrong + judge(out, lse, right, *plain(spec, q, k, v, inputs), tf32=spec.tf32)
