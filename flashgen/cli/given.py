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
Seqlen: TypeAlias = Annotated[
    int | None, typer.Option("--seqlen", min=1, help="Plan for this key length, and query length: 8192.")
]
SeqlenQ: TypeAlias = Annotated[int | None, typer.Option("--seqlen-q", min=1, help="For this query length.")]
Batch: TypeAlias = Annotated[int | None, typer.Option("--batch", min=1, help="For this batch size: 4.")]
Heads: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--heads", help="For these query heads, or query/key heads, such as 32/8: the spec's, or 32."
    ),
]
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


def workload(
    spec: AttentionSpec, batch: int | None, heads: str | None, seqlen_q: int | None, seqlen: int | None
) -> Workload:
    """The call that a plan is made for: the sizes given, the spec's heads, else those of ``LONG``.

    Raises ``PlanError`` for heads that are none.
    """
    from flashgen.plan.plan import Workload
    from flashgen.plan.search import LONG

    hq, hkv = (spec.heads.q, spec.heads.kv) if spec.heads else (LONG.Hq, LONG.Hkv)
    if heads is not None:
        hq, hkv = _heads(heads)
    return Workload(batch or LONG.B, hq, hkv, seqlen_q or seqlen or LONG.Nq, seqlen or LONG.Nk)


def _heads(text: str) -> tuple[int, int]:
    parts = text.split("/")
    if len(parts) > 2 or not all(p.isascii() and p.isdigit() and 0 < int(p) <= 1 << 20 for p in parts):
        raise PlanError(f"--heads {text!r}: write 32 or 32/8")
    hq, hkv = int(parts[0]), int(parts[-1])
    if hq % hkv:
        raise PlanError(f"--heads {text}: {hq} query heads are no multiple of {hkv} key heads")
    return hq, hkv


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
