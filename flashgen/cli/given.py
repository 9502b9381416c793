"""What commands that plan are given, read by all in the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from flashgen.errors import PlanError

if TYPE_CHECKING:
    from flashgen.plan.plan import Workload
    from flashgen.plan.target import Target
    from flashgen.spec.model import AttentionSpec

Spec: TypeAlias = Annotated[str, typer.Argument(metavar="SPEC", help="A file, or a name of the gallery.")]
Dtype: TypeAlias = Annotated[
    str | None,
    typer.Option("--dtype", help="fp16, bf16 or fp32; default: the spec's first that the target has."),
]
Sram: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--sram",
        help="Plan as if one thread block could use this much shared memory, such as 96KiB; "
        "default: what one block may use on the target.",
    ),
]
Seqlen: TypeAlias = Annotated[int, typer.Option(min=1, help="Key length, and query length.")]
SeqlenQ: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Query length.")]
Batch: TypeAlias = Annotated[int, typer.Option(min=1, help="Batch size.")]
Heads: TypeAlias = Annotated[str | None, typer.Option(help="Query heads, or query/key heads: 32 or 32/8.")]
Schedule: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        help="The algorithm, such as flash2 (the default), standard, backward; a wrong name lists them.",
    ),
]
Backward: TypeAlias = Annotated[bool, typer.Option("--backward", help="Short for --schedule backward.")]


def algorithm(schedule: str | None, backward: bool) -> str:
    """The schedule asked for. Raises ``PlanError`` where the two options disagree."""
    if backward and schedule not in (None, "backward"):
        raise PlanError(f"--backward is --schedule backward, and --schedule {schedule} asks for another one")
    return "backward" if backward else schedule or "flash2"


def given(spec: str, target: str, dtype: str | None, sram: str | None) -> tuple[AttentionSpec, Target, str]:
    """The spec, the target with the stated shared memory, and the dtype. Raises ``FlashgenError``."""
    from flashgen.plan.search import check_dtype
    from flashgen.plan.size import parse_size
    from flashgen.plan.target import load_target
    from flashgen.spec import load_spec
    from flashgen.spec.gallery import find

    known = load_spec(find(spec))
    gpu = load_target(target, None if sram is None else parse_size(sram))
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
    from flashgen.plan.plan import Workload

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
