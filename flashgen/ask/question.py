"""A question to the planner: a spec, a target, a dtype and the sizes of a call, read alike for all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from flashgen.errors import PlanError

if TYPE_CHECKING:
    from flashgen.driver import Lowered
    from flashgen.ir.workload import Workload
    from flashgen.plan.plan import Plan
    from flashgen.plan.search import Candidate
    from flashgen.spec.model import AttentionSpec
    from flashgen.targets.target import Target

    #: A file's path, a gallery's name, or a spec.
    GivenSpec: TypeAlias = str | Path | AttentionSpec


@dataclass(frozen=True)
class Sizes:
    """The sizes of a call. ``heads``: query heads, or query and KV heads; by default the spec's, or 32."""

    seqlen: int = 8192
    seqlen_q: int | None = None
    batch: int = 4
    heads: int | tuple[int, int] | str | None = None


@dataclass(frozen=True)
class Question:
    """What is asked, lowered."""

    lowered: Lowered
    target: Target
    dtype: str
    workload: Workload

    def ranked(self) -> list[list[Candidate]]:
        """The candidates of each kernel, compiled for the target as ``build`` does. Raises ``PlanError``."""
        from flashgen.driver import emit_source
        from flashgen.plan.select import rankings

        emit = partial(emit_source, self.lowered)
        return rankings(self.lowered.program, self.target, self.dtype, self.workload, emit)

    def plan(self, ranked: list[list[Candidate]] | None = None) -> Plan:
        """The plan, the compiler's where it was asked. Raises ``PlanError``."""
        from flashgen.plan.search import choose
        from flashgen.plan.select import proved

        asked = self.lowered.program, self.target, self.dtype, self.workload
        return choose(*asked) if ranked is None else proved(*asked, ranked)


def question(
    spec: GivenSpec,
    target: str,
    schedule: str | None,
    backward: bool,
    dtype: str | None,
    sram: str | int | None,
    sizes: Sizes,
) -> Question:
    """What a function of the API was given. Raises ``FlashgenError`` as the commands do."""
    from flashgen.driver import lower_spec

    known, gpu, chosen = given(spec, target, dtype, sram)
    h = sizes.heads
    heads = None if h is None else "/".join(map(str, h)) if isinstance(h, tuple) else str(h)
    work = workload(known, sizes.seqlen, sizes.seqlen_q, sizes.batch, heads)
    return Question(lower_spec(known, algorithm(schedule, backward)), gpu, chosen, work)


def algorithm(schedule: str | None, backward: bool) -> str:
    """The schedule asked for. Raises ``PlanError`` where the two options disagree."""
    if backward and schedule not in (None, "backward"):
        raise PlanError(f"--backward is --schedule backward, and --schedule {schedule} asks for another one")
    return "backward" if backward else schedule or "flash2"


def spec_of(spec: str | Path | AttentionSpec) -> AttentionSpec:
    """A spec given as a file's path, a gallery's name, or itself. Raises ``SpecError``."""
    from flashgen.spec import AttentionSpec, load_spec
    from flashgen.spec.gallery import find

    return spec if isinstance(spec, AttentionSpec) else load_spec(find(spec))


def given(
    spec: str | Path | AttentionSpec, target: str, dtype: str | None, sram: str | int | None
) -> tuple[AttentionSpec, Target, str]:
    """The spec, the target with the stated shared memory, and the dtype. Raises ``FlashgenError``."""
    from flashgen.plan.search import check_dtype
    from flashgen.size import parse_size
    from flashgen.targets.target import load_target

    known = spec_of(spec)
    gpu = load_target(target, parse_size(sram) if isinstance(sram, str) else sram)
    able = [d for d in known.dtypes if gpu.supports(d)]
    if dtype is None and not able:
        declared = ", ".join(known.dtypes)
        raise PlanError(f"{known.name} is declared for {declared}, of which {gpu.name} has no kernels")
    chosen = dtype or able[0]
    check_dtype(gpu, chosen)
    if chosen not in known.dtypes:
        raise PlanError(f"{known.name} is declared for {', '.join(known.dtypes)}, not for {chosen}")
    return known, gpu, chosen


def workload(
    known: AttentionSpec, seqlen: int, seqlen_q: int | None, batch: int, heads: str | None
) -> Workload:
    """The sizes of a call: the planner's ``LONG`` where all are defaults. Raises ``PlanError``."""
    from flashgen.ir.workload import Workload

    return Workload(batch, *heads_of(heads, known), seqlen_q or seqlen, seqlen)


def heads_of(text: str | None, spec: AttentionSpec) -> tuple[int, int]:
    """Query heads and key heads: as given, else the spec's own, else 32. Raises ``PlanError``."""
    if text is None:
        return (spec.heads.q, spec.heads.kv) if spec.heads else (32, 32)
    parts = text.split("/")
    if len(parts) > 2 or not all(p.isascii() and p.isdigit() and 0 < int(p) <= 1 << 20 for p in parts):
        raise PlanError(f"--heads {text!r}: write 32 or 32/8")
    hq, hkv = int(parts[0]), int(parts[-1])
    if hq % hkv:
        raise PlanError(f"--heads {text}: {hq} query heads are no multiple of {hkv} key heads")
    if spec.heads is not None and (hq, hkv) != (spec.heads.q, spec.heads.kv):
        raise PlanError(
            f"--heads {text}: {spec.name} fixes {spec.heads.q}/{spec.heads.kv} (its field heads) and refuses "
            "calls of others; leave --heads out"
        )
    return hq, hkv
