"""Plans are proved before they are used: candidates are compiled for the target, without that GPU.

The compiler's shared memory, registers and spills replace the predictions, and times are predicted anew
from them. A candidate it refuses, or that does not fit, sends the search to the next. Results are kept on
disk by everything that decides them.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from flashgen.ir.program import Program
from flashgen.resources import cache_folder

from .cost import kernel_cost
from .facts import facts
from .plan import ITEM_BYTES, Measured, Plan, Workload
from .resources import MAX_SPILL_BYTES, tiling
from .search import Candidate, best_of, candidates, check_dtype, choose, make_plan
from .size import show_size
from .target import Target

#: Seconds one compile may take: 256-row fp32 tiles can need a minute.
TIMEOUT_S = 120.0
#: Candidates that the compiler passes before the best of them is taken, and that it may refuse before the
#: search ends: each costs seconds, and where so many of the most promising fail the others do too.
TRIES = 12
REFUSALS = 16
#: Bytes that vectors are aligned to.
VECTOR_BYTES = 16
_POINTERS = {
    "fp16": "*fp16",
    "bf16": "*bf16",
    "fp32": "*fp32",
    "acc": "*fp32",
    "int32": "*i32",
    "int64": "*i64",
    "bool": "*i1",
}


class Argument(Protocol):
    """A parameter of a generated kernel, as the emitter describes it."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def tensor(self) -> str | None: ...
    @property
    def value(self) -> int | None: ...
    @property
    def reach(self) -> int: ...
    @property
    def block(self) -> Sequence[int]: ...


class Generated(Protocol):
    """One kernel of a generated module."""

    @property
    def name(self) -> str: ...
    @property
    def args(self) -> Sequence[Argument]: ...


class Module(Protocol):
    """A generated module: its text and its kernels in launch order."""

    @property
    def text(self) -> str: ...
    @property
    def kernels(self) -> Sequence[Generated]: ...


#: Prints the module of a plan; the emitter is a later level, so it is handed in.
Emit = Callable[[Plan], Module]
#: Is told in a line how far it is.
Tell = Callable[[str], object]


def _quiet(line: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Verdict:
    """What the compiler said of a kernel: its numbers, or why there are none."""

    measured: Measured | None
    error: str = ""


def job(program: Program, module: Module, kernel: int, plan: Plan, target: Target) -> dict[str, Any]:
    """What ``compiler`` needs for a kernel, for 16-byte aligned contiguous tensors."""
    k = module.kernels[kernel]
    dtypes = {t.name: plan.dtype if t.dtype == "elem" else t.dtype for t in program.tensors}
    signature: list[list[str]] = []
    constants: list[list[Any]] = []
    aligned: list[list[int]] = []
    for i, a in enumerate(k.args):
        dtype = dtypes.get(a.tensor or "", "acc")
        if a.kind == "descriptor":
            signature.append([a.name, f"tensordesc<{_POINTERS[dtype][1:]}{list(a.block)}>"])
        elif a.kind == "ptr":
            signature.append([a.name, _POINTERS[dtype]])
            aligned.append([i, VECTOR_BYTES])
        elif a.kind == "stride":
            signature.append([a.name, "i32" if a.reach else "i64"])
            if program.tensor(a.tensor or "").role in ("q", "k", "v") or dtype == plan.dtype:
                aligned.append([i, max(1, VECTOR_BYTES // ITEM_BYTES[plan.dtype])])
        elif a.kind == "constexpr":
            signature.append([a.name, "constexpr"])
            constants.append([i, a.value])
        else:
            signature.append([a.name, "fp32" if a.kind == "float" else "i32"])
    p = plan.kernels[kernel]
    return {
        "text": module.text, "kernel": k.name, "signature": signature, "constants": constants,
        "aligned": aligned, "arch": target.arch, "warp_size": target.warp_size,
        "num_warps": p.num_warps, "num_stages": p.num_stages, "max_registers": p.max_registers,
    }  # fmt: skip


def compiled(work: Mapping[str, Any]) -> Verdict:
    """The verdict on one job: from the cache, or by a process that may crash or run out of time."""
    path = cache_folder() / "compiled" / f"{_key(work)}.json"
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = _run(work)
        if not known.get("passing"):
            _keep(path, known)
    if "error" in known:
        return Verdict(None, str(known["error"]))
    return Verdict(Measured(known["smem_bytes"], known["registers"], known["spill_bytes"]))


def _run(work: Mapping[str, Any]) -> dict[str, Any]:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    here = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, here))
    command = [sys.executable, "-m", "flashgen.plan.compiler"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(work),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"did not compile within {TIMEOUT_S:g} s"}
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
        return dict(answer)
    except (ValueError, IndexError):
        if "No module named" in done.stderr:  # no compiler here: says nothing about the candidate
            return {"error": done.stderr.strip().splitlines()[-1], "passing": True}
        return {"error": f"the compiler ended with status {done.returncode}"}


def _key(work: Mapping[str, Any]) -> str:
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = "none"
    # The version of the rules here is part of the key: a verdict's fields may change.
    text = json.dumps([1, triton, work], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _keep(path: Path, answer: Mapping[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(answer, file, sort_keys=True)
        os.replace(name, path)
    except OSError:
        pass  # a cache that cannot be written only costs time


def verdicts(
    program: Program, plans: Sequence[Plan], kernel: int, target: Target, emit: Emit, workers: int = 2
) -> list[Verdict]:
    """The verdicts on kernel number ``kernel`` of each plan, compiled side by side."""
    jobs = [job(program, emit(p), kernel, p, target) for p in plans]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(compiled, jobs))


def judged(
    c: Candidate, verdict: Verdict, program: Program, kernel: int, target: Target, dtype: str, w: Workload
) -> Candidate:
    """``c`` with the compiler's numbers: rejected, or with its time predicted from them."""
    m = verdict.measured
    if m is None:
        return replace(c, cost=None, rejected=f"does not compile: {verdict.error}", refused=True)
    c = replace(c, smem_bytes=m.smem_bytes, registers=m.registers, spill_bytes=m.spill_bytes, measured=m)
    if m.smem_bytes > target.smem_bytes:
        why = f"takes {show_size(m.smem_bytes)} of shared memory, {show_size(target.smem_bytes)} exist"
        return replace(c, cost=None, rejected=why, refused=True)
    if m.spill_bytes > MAX_SPILL_BYTES:
        why = f"spills {m.spill_bytes} bytes a thread, {MAX_SPILL_BYTES} are allowed"
        return replace(c, cost=None, rejected=why, refused=True)
    t = tiling(facts(program)[kernel], c.plan, dtype, target)
    return replace(c, cost=kernel_cost(t, w, m.smem_bytes, m.registers, m.spill_bytes))


def ranking(
    program: Program, kernel: int, target: Target, dtype: str, w: Workload, emit: Emit, tries: int = TRIES,
    workers: int = 2, tell: Tell = _quiet,
) -> list[Candidate]:  # fmt: skip
    """The candidates of a kernel, the most promising ones compiled: confirmed by time, then the rest.

    Compiling stops when the best confirmed time is below every prediction left, after ``tries`` that
    passed, or after ``REFUSALS``.
    """
    waiting = candidates(program, kernel, target, dtype, w)
    rejected = [c for c in waiting if c.rejected]
    waiting = [c for c in waiting if not c.rejected]
    others = [c.plan for c in _placeholders(program, target, dtype, w, kernel)]
    confirmed: list[Candidate] = []
    refused: list[Candidate] = []
    while waiting and len(confirmed) < tries and len(refused) < REFUSALS:
        best = min((c.cost.us for c in confirmed if c.cost), default=float("inf"))
        batch = [c for c in waiting[:workers] if c.cost and c.cost.us < best]
        if not batch:
            break
        waiting = waiting[len(batch) :]
        tell(_progress(len(confirmed), refused))
        plans = []
        for c in batch:
            plan = make_plan(program, target, dtype, [c] * len(program.kernels), w)
            plans.append(replace(plan, kernels=(*others[:kernel], c.plan, *others[kernel + 1 :])))
        for c, v in zip(batch, verdicts(program, plans, kernel, target, emit, workers), strict=True):
            c = judged(c, v, program, kernel, target, dtype, w)
            (refused if c.rejected else confirmed).append(c)
    confirmed.sort(key=lambda c: c.cost.us if c.cost else 0.0)
    return confirmed + waiting + refused + rejected


def _progress(passed: int, refused: Sequence[Candidate]) -> str:
    why = f": the last {refused[-1].rejected}" if refused else ""
    return f"{passed} passed, {len(refused)} refused{why}"


def _placeholders(program: Program, target: Target, dtype: str, w: Workload, kernel: int) -> list[Candidate]:
    """Any candidate for every kernel: those that are not compiled only have to be printable."""
    return [candidates(program, i, target, dtype, w)[0] for i in range(len(program.kernels))]


def rankings(
    program: Program, target: Target, dtype: str, workload: Workload, emit: Emit, tries: int = TRIES,
    workers: int = 2, tell: Tell = _quiet,
) -> list[list[Candidate]]:  # fmt: skip
    """``ranking`` of every kernel. Raises ``PlanError`` as ``choose`` does, before anything is compiled."""
    check_dtype(target, dtype)
    kernels = range(len(program.kernels))
    if any(c[0].rejected for c in (candidates(program, i, target, dtype, workload) for i in kernels)):
        choose(program, target, dtype, workload)  # says why
    return [ranking(program, i, target, dtype, workload, emit, tries, workers, tell) for i in kernels]


def confirmed(
    program: Program, target: Target, dtype: str, workload: Workload, emit: Emit, tries: int = TRIES,
    workers: int = 2, tell: Tell = _quiet,
) -> Plan:  # fmt: skip
    """The plan with the least time predicted from what the compiler made of it.

    Raises ``PlanError`` as ``choose`` does, or when the compiler refused every candidate that was tried,
    with its reasons.
    """
    found = rankings(program, target, dtype, workload, emit, tries, workers, tell)
    return proved(program, target, dtype, workload, found)


def proved(
    program: Program, target: Target, dtype: str, workload: Workload, found: Sequence[list[Candidate]]
) -> Plan:
    """The plan of the best of each kernel's ``ranking``. Raises ``PlanError`` where none was passed."""
    best = [best_of(ranked, target, program) for ranked in found]
    plan = make_plan(program, target, dtype, best, workload)
    return replace(plan, compiled=tuple(c.measured for c in best if c.measured is not None))
