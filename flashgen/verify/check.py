"""One case on one backend: run it, and say what is wrong with the result."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from flashgen.spec.model import AttentionSpec

from .carried import gradient_floors
from .case import Case
from .errors import Finding, independent_errors, judge, judge_gradients
from .gradients import truth_gradients
from .oracle import Truth, truth
from .philox import keep_mask
from .plain import plain, plain_gradients
from .probes import kept_bits, mask_bits
from .run import (
    PLANNED,
    Run,
    RunBackward,
    compiled,
    compiled_backward,
    generated,
    generated_backward,
    program,
    program_backward,
)

Backend: TypeAlias = Literal["cpu", "triton-interpreted", "cuda"]


def check(
    spec: AttentionSpec, case: Case, backend: Backend | Run = "cpu", schedule: str = "flash2"
) -> list[Finding]:
    """Everything wrong with ``spec`` on ``case``; empty means right.

    ``backend`` may be a function of one's own. ``triton-interpreted`` runs in a process of its own, since
    Triton decides at import whether it interprets. ``schedule`` says which program runs where the case has a
    tile of its own.
    """
    if not isinstance(backend, str):
        return check_run(spec, case, backend)
    if backend == "triton-interpreted":
        from .worker import shared_worker

        return shared_worker().check(spec, case, schedule=schedule)
    if backend == "cuda":
        run = compiled if case.tile == PLANNED else generated(case.tile, interpreted=False, schedule=schedule)
        return check_run(spec, case, run, "cuda")
    return check_run(spec, case, compiled if case.tile == PLANNED else program(case.tile, schedule))


def check_interpreted(spec: AttentionSpec, case: Case, schedule: str = "flash2") -> list[Finding]:
    """``check`` of the generated kernel, in a process that has ``TRITON_INTERPRET=1``."""
    run = generated(case.tile, interpreted=True, seed=case.seed % 6, schedule=schedule)
    return check_run(spec, case, run)


def check_run(spec: AttentionSpec, case: Case, run: Run, device: str = "cpu") -> list[Finding]:
    """``check`` for a function that runs in this process."""
    q, k, v, inputs = case.tensors(spec, device)
    seed = case.seed_of(spec)
    out, lse = run(spec, q, k, v, inputs, **_keyword(seed))
    statistics = torch.promote_types(q.dtype, torch.float32)
    wrong = [
        Finding(name, f"dtype {x.dtype} instead of {dtype}:", 1, 0)
        for name, x, dtype in (("out", out, q.dtype), ("lse", lse, statistics))
        if x.dtype != dtype
    ]
    return wrong + judge(out, lse, *expected(spec, case, device), tf32=spec.tf32)


def expected(spec: AttentionSpec, case: Case, device: str = "cpu") -> tuple[Truth, Tensor, Tensor]:
    """What is right, and ``out`` and ``lse`` of plain PyTorch."""
    given, seed = case.tensors(spec, device), case.seed_of(spec)
    return truth(spec, *given, seed=seed), *plain(spec, *given, seed=seed)


def check_gradients(
    spec: AttentionSpec, case: Case, backend: Backend | RunBackward = "cpu", schedule: str = "backward"
) -> list[Finding]:
    """Everything wrong with the gradients of ``spec`` on ``case``; empty means right. As ``check``."""
    if not isinstance(backend, str):
        return check_backward(spec, case, backend)
    if backend == "triton-interpreted":
        from .worker import shared_worker

        return shared_worker().check(spec, case, "gradients", schedule)
    if backend == "cuda":
        run = (
            compiled_backward
            if case.tile == PLANNED
            else generated_backward(case.tile, interpreted=False, schedule=schedule)
        )
        return check_backward(spec, case, run, "cuda")
    return check_backward(
        spec, case, compiled_backward if case.tile == PLANNED else program_backward(case.tile, schedule)
    )


def check_gradients_interpreted(spec: AttentionSpec, case: Case, schedule: str = "backward") -> list[Finding]:
    """``check_gradients`` of the generated kernels, in a process that has ``TRITON_INTERPRET=1``."""
    run = generated_backward(case.tile, interpreted=True, seed=case.seed % 6, schedule=schedule)
    return check_backward(spec, case, run)


def check_backward(spec: AttentionSpec, case: Case, run: RunBackward, device: str = "cpu") -> list[Finding]:
    """``check_gradients`` for a function that runs in this process."""
    q, k, v, inputs = case.tensors(spec, device)
    dout, dlse = case.upstream(spec, device)
    got = run(spec, q, k, v, inputs, dout, dlse, **_keyword(case.seed_of(spec)))
    return judge_gradients(got, *expected_gradients(spec, case, device), independent_errors(q, v, dout))


def expected_gradients(
    spec: AttentionSpec, case: Case, device: str = "cpu"
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """The true gradients, those of plain PyTorch, and what rounding alone may do."""
    given = (*case.tensors(spec, device), *case.upstream(spec, device), case.seed_of(spec))
    right = truth_gradients(spec, *given)
    return right, plain_gradients(spec, *given), gradient_floors(spec, right, *given)


def check_dropout(spec: AttentionSpec, case: Case, backend: Backend = "cpu") -> list[Finding]:
    """The pairs that a forward and its backward drop, where they are not those of ``verify/philox.py``.

    ``spec`` has dropout and is fit for ``probes.kept_bits``.
    """
    if backend == "triton-interpreted":
        from .worker import shared_worker

        return shared_worker().check(spec, case, "dropout")
    device = "cuda" if backend == "cuda" else "cpu"
    if case.tile == PLANNED:
        return check_kept(spec, case, compiled, compiled_backward, device)
    if backend == "cuda":
        on_device = generated(case.tile, interpreted=False), generated_backward(case.tile, interpreted=False)
        return check_kept(spec, case, *on_device, device)
    return check_kept(spec, case, program(case.tile), program_backward(case.tile), device)


def check_dropout_interpreted(spec: AttentionSpec, case: Case) -> list[Finding]:
    """``check_dropout`` of the generated kernels, in a process that has ``TRITON_INTERPRET=1``."""
    runs = generated(case.tile, interpreted=True), generated_backward(case.tile, interpreted=True)
    return check_kept(spec, case, *runs)


def check_kept(
    spec: AttentionSpec, case: Case, run: Run, backward: RunBackward, device: str = "cpu"
) -> list[Finding]:
    """``check_dropout`` for functions that run in this process."""
    sizes = (case.batch, case.heads, case.seqlen_q, case.seqlen_k)
    right = torch.from_numpy(keep_mask(case.dropout, *sizes, spec.dropout)).to(device)
    drawn = dict(zip(("dv", "ds"), kept_bits(backward, spec, case, device), strict=True))
    drawn["out"] = mask_bits(run, spec, case, device)[0]
    wrong = {name: int((bits != right).sum()) for name, bits in drawn.items()}
    return [Finding(name, "pairs dropped or kept wrongly:", n, 0) for name, n in wrong.items() if n]


def _keyword(seed: int | None) -> dict[str, int]:
    return {} if seed is None else {"seed": seed}
