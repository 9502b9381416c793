"""What the page holds: plain data (JSON), in bytes and microseconds, from a lowered spec and a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flashgen.driver import Lowered
from flashgen.explain.call import call_text, capacity_notes
from flashgen.explain.formulas import on_chip_text, smem_text
from flashgen.explain.words import PASS_CAUSES, order_text
from flashgen.ir.dtypes import ITEM_BYTES
from flashgen.ir.workload import Workload
from flashgen.plan.model.facts import KernelFacts, facts
from flashgen.plan.model.tiling import on_chip_bytes, tiling
from flashgen.plan.plan import MAX_SPILL_BYTES, KernelPlan, Plan
from flashgen.plan.search import DOUBTED, Candidate, best_of, candidates, check_dtype, make_plan
from flashgen.targets.target import Target, load_target, target_names

from .papers import papers
from .requests import counted, formula
from .rows import Row, Time, rows_of
from .sources import Sources, emitted, shown

KIB = 1024
#: The slider's ends: no GPU of today has less or more.
LEAST, MOST = 16 * KIB, 512 * KIB
#: Up to this size, in bytes, each KiB counts.
EVERY_KIB = 2 * KIB * KIB
#: Measured microseconds by kernel and candidate, as ``tune.timings`` gives them.
Times = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Question:
    """What is explored: a lowered spec on a target, at one workload."""

    lowered: Lowered
    target: Target
    dtype: str
    workload: Workload

    @property
    def least(self) -> int:
        """The least SRAM of the slider, bytes."""
        return min(LEAST, self.target.smem_bytes // KIB * KIB or 1)

    @property
    def most(self) -> int:
        """The most."""
        return max(MOST, -(-2 * self.target.smem_bytes // KIB) * KIB)

    def sizes(self) -> list[int]:
        """Every size that the slider can take; beyond any tile's, steps that grow with it."""
        found = [self.target.smem_bytes, self.least]
        while found[-1] < self.most:
            found.append(found[-1] + max(1, found[-1] // EVERY_KIB) * KIB)
        return found


def page_data(
    asked: Question, ranked: Sequence[list[Candidate]] | None = None, measured: Times | None = None,
    tell: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:  # fmt: skip
    """Everything the page shows.

    ``ranked``: the candidates of each kernel with the compiler's numbers (``select.rankings``).
    Raises ``PlanError`` as ``search.choose`` does.
    """
    program, target, w = asked.lowered.program, asked.target, asked.workload
    check_dtype(target, asked.dtype)
    count = len(program.kernels)
    found = ranked or [candidates(program, i, target, asked.dtype, w) for i in range(count)]
    best = [best_of(c, target, program) for c in found]
    plan = make_plan(program, target, asked.dtype, best, w)
    sources = Sources()
    kernels = []
    for i, f in enumerate(facts(program)):
        tell(f"kernel {f.kernel.name}")
        of = {c.plan: c for c in found[i] if c.measured or c.refused}
        times = (measured or {}).get(f.kernel.name, {})
        kernels.append(_kernel(asked, i, f, plan, of, times, sources))
    return {
        "title": program.name,
        "spec": _spec(asked.lowered),
        "dtype": asked.dtype,
        "workload": {**w.names(), "text": call_text(program, w)},
        "target": _target(target, asked.dtype, asked.lowered.spec.tf32)
        | {"notes": target.notes() + capacity_notes(program, target, asked.dtype, w)},
        "slider": {"least": asked.least, "most": asked.most, "start": target.smem_bytes},
        "others": _others(target),
        "papers": papers(asked.lowered.spec, w, ITEM_BYTES[asked.dtype]),
        "rules": {"doubted": DOUBTED, "spill": MAX_SPILL_BYTES},
        "causes": PASS_CAUSES,
        "kernels": kernels,
        "lines": sources.lines,
    }


def _kernel(
    asked: Question, i: int, f: KernelFacts, plan: Plan, compiled: Mapping[KernelPlan, Candidate],
    measured: Mapping[str, float], sources: Sources,
) -> dict[str, Any]:  # fmt: skip
    target, dtype = asked.target, asked.dtype
    rows = rows_of(asked.lowered.program, i, target, dtype, asked.workload, asked.most, compiled)
    wanted = {n for n, r in enumerate(rows) if str(r.plan) in measured}
    wanted |= set(shown(rows, asked.sizes(), target))
    texts = {n: sources.add(emitted(asked.lowered, plan, i, rows[n])) for n in sorted(wanted)}
    t = tiling(f, plan.kernels[i], dtype, target)
    return {
        "name": f.kernel.name,
        "note": f.kernel.note,
        "order": order_text(plan.kernels[i], f),
        "loops": [loop.note or f"{loop.mask} tiles" for loop in f.loops],
        "counted": counted(asked.lowered.program, i, asked.workload),
        "formulas": [
            ["shared memory, bytes a block", smem_text(t)],
            ["on chip (the papers' M), bytes", f"{on_chip_text(t)} = {on_chip_bytes(t):,}"],
            ["requested, bytes", formula(asked.lowered.program, i, t, asked.workload)],
        ],
        "proved": next((n for n, r in enumerate(rows) if r.compiled and r.plan == plan.kernels[i]), None),
        "rows": [_row(r, texts.get(n), measured.get(str(r.plan))) for n, r in enumerate(rows)],
    }


def _row(r: Row, source: list[int] | None, measured: float | None) -> dict[str, Any]:
    out: dict[str, Any] = {
        "sides": dict(r.plan.sides), "name": str(r.plan), "warps": r.plan.num_warps,
        "stages": r.plan.num_stages, "tried": r.tried, "smem": r.smem_bytes, "registers": r.registers,
    }  # fmt: skip
    if r.rejected:
        return {**out, "rejected": r.rejected, "kind": r.kind}
    return {
        **out, "spill": r.spill_bytes, "limits": r.limits, "times": [_time(t) for t in r.times],
        "flops": r.flops, "requested": r.requested_bytes, "blocks": r.blocks, "passes": r.passes,
        "better": [[b.step, b.row, b.needs] for b in r.better], "compiled": r.compiled,
        "source": source, "measured": measured,
    }  # fmt: skip


def _time(t: Time) -> list[Any]:
    """The order of promise in full, since it decides; what is only shown in short."""
    parts = (float(f"{x:.6g}") for x in (t.us, t.compute_us, t.hbm_us))
    return [*parts, t.hbm_bytes, round(t.waves, 3), t.bound, t.pass_clocks, [float(x) for x in t.promise]]


def _spec(lowered: Lowered) -> dict[str, Any]:
    spec = lowered.spec
    constants = ", ".join(f"{k} = {v}" for k, v in spec.constants.items())
    return {
        "name": spec.name, "description": spec.description or "", "score": spec.score,
        "mask": spec.mask or "", "constants": constants, "schedule": lowered.program.schedule,
    }  # fmt: skip


def _target(target: Target, dtype: str, tf32: bool) -> dict[str, Any]:
    smem = target.numbers["smem_per_block"]
    rate = target.flops_per_clock(dtype, tf32) * target.number("sms") * target.number("clock") / 1e3
    return {
        "name": target.name, "description": target.description, "arch": target.arch,
        "real": target.smem_real or target.smem_bytes, "source": target.sources[smem.source],
        "spare": target.integer("smem_per_sm") - target.smem_bytes,
        "reserved": target.integer("smem_reserved_per_block"), "sms": target.integer("sms"),
        "warps": target.integer("threads_per_sm") // target.warp_size,
        "peak": rate, "sustained": rate * target.number("sustained"), "l2": target.number("l2_rate"),
        "dram": target.number("hbm_rate") * target.number("hbm_sustained"),
    }  # fmt: skip


def _others(target: Target) -> list[list[Any]]:
    """What a block may use on each GPU, the least first; GPUs of the same size together."""
    sizes: dict[int, list[str]] = {}
    for name in target_names():
        other = load_target(name)
        if other.backend == target.backend:
            sizes.setdefault(other.smem_bytes, []).append(name)
    return [[", ".join(names), size] for size, names in sorted(sizes.items())]
