"""``flashgen explain``: the plan of a spec on a GPU, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from flashgen.errors import PlanError

from .console import out


def command(
    spec: Annotated[str, typer.Argument(help="A spec's file, or a name of the gallery.")],
    target: Annotated[str, typer.Option(help="The GPU, or cpu.")] = "h100",
    seqlen: Annotated[int, typer.Option(min=1, help="Key length, and query length.")] = 8192,
    seqlen_q: Annotated[int | None, typer.Option(min=1, help="Query length.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Batch size.")] = 2,
    heads: Annotated[str | None, typer.Option(help="Query heads, or query/key heads: 32 or 32/8.")] = None,
    dtype: Annotated[str | None, typer.Option(help="By default the spec's first.")] = None,
    sram: Annotated[str | None, typer.Option(help="Shared memory a block may use, such as 96KiB.")] = None,
    confirm: Annotated[bool, typer.Option("--confirm", help="Compile the best candidates.")] = False,
) -> None:
    """Explain the plan: the choice, what limits it, the formulas, and what was rejected."""
    from flashgen.driver import emit_source, lower_spec
    from flashgen.plan.confirm import ranking
    from flashgen.plan.explain import explain
    from flashgen.plan.plan import Workload
    from flashgen.plan.size import parse_size
    from flashgen.plan.target import load_target
    from flashgen.spec import load_spec
    from flashgen.spec.gallery import find

    loaded = load_spec(find(spec))
    gpu = load_target(target, None if sram is None else parse_size(sram))
    hq, hkv = _heads(heads, (loaded.heads.q, loaded.heads.kv) if loaded.heads else (16, 16))
    work = Workload(batch, hq, hkv, seqlen_q or seqlen, seqlen)
    lowered = lower_spec(loaded)
    kind = dtype or loaded.dtypes[0]
    ranked = None
    if confirm and gpu.backend == "triton":
        kernels = range(len(lowered.program.kernels))
        ranked = tuple(
            ranking(lowered.program, i, gpu, kind, work, lambda p: emit_source(lowered, p)) for i in kernels
        )
    out().print(explain(lowered.program, gpu, kind, work, ranked))


def _heads(text: str | None, default: tuple[int, int]) -> tuple[int, int]:
    if text is None:
        return default
    parts = text.split("/")
    if len(parts) > 2 or not all(p.isascii() and p.isdigit() and 0 < int(p) <= 1 << 20 for p in parts):
        raise PlanError(f"--heads {text!r}: write 32 or 32/8")
    hq, hkv = int(parts[0]), int(parts[-1])
    if hq % hkv:
        raise PlanError(f"--heads {text}: {hq} query heads are no multiple of {hkv} key heads")
    return hq, hkv
