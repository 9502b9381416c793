"""``flashgen build``: the kernel of a spec as files, confirmed by the compiler for its target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flashgen.errors import FlashgenError, PlanError

from .console import out

if TYPE_CHECKING:
    from flashgen.plan.plan import Plan
    from flashgen.plan.target import Target


def command(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A file, or a name of the gallery.")],
    target: Annotated[str, typer.Option("--target", "-t", help="The GPU to build for.")] = "h100",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder to write to; default out/NAME.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="fp16, bf16 or fp32; default: the spec's first.")
    ] = None,
    sram: Annotated[
        str | None, typer.Option("--sram", help="Shared memory a block may use, such as 96KiB.")
    ] = None,
    confirm: Annotated[
        bool, typer.Option("--confirm/--no-confirm", help="Compile candidates for the target.")
    ] = True,
) -> None:
    """Write kernel.py and manifest.json; compiles for the target, which need not be here."""
    from flashgen.driver import emit_source, lower_spec
    from flashgen.plan.search import LONG, choose
    from flashgen.plan.size import parse_size
    from flashgen.plan.target import load_target
    from flashgen.runtime.signature import default_dtype, signature
    from flashgen.spec import load_spec
    from flashgen.spec.gallery import find

    known = load_spec(find(spec))
    gpu = load_target(target, None if sram is None else parse_size(sram))
    if gpu.backend == "interpreter":
        raise PlanError(
            f"{gpu.name} runs the program itself and has no kernel; build for a GPU, such as h100"
        )
    chosen = dtype or default_dtype(signature(known.canonical_json()), gpu.name)
    if chosen not in known.dtypes:
        raise PlanError(f"{known.name} is declared for {', '.join(known.dtypes)}, not for {chosen}")
    lowered = lower_spec(known)
    if confirm:
        from flashgen.plan.confirm import confirmed

        with out().status(f"compiling candidates for {gpu.name}"):
            plan = confirmed(lowered.program, gpu, chosen, LONG, lambda p: emit_source(lowered, p))
    else:
        plan = choose(lowered.program, gpu, chosen)
    source = emit_source(lowered, plan)
    folder = output or Path("out") / known.name
    manifest = json.dumps(source.manifest, indent=2, sort_keys=True) + "\n"
    write(folder, {"kernel.py": source.text, "manifest.json": manifest})
    for line in said(plan, gpu):
        out().print(line, markup=False)
    for name in ("kernel.py", "manifest.json"):
        out().print(f"wrote {folder / name}", markup=False)


def write(folder: Path, texts: dict[str, str]) -> None:
    """Write files into ``folder``, which is made where it is missing. Raises ``FlashgenError``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise FlashgenError(f"{folder} cannot be written: {error.strerror}") from None


def said(plan: Plan, target: Target) -> list[str]:
    """The plan of each kernel, with the compiler's numbers where it was asked."""
    lines = [f"{target.description}, {plan.dtype}, schedule {plan.schedule}"]
    for i, kernel in enumerate(plan.kernels):
        line = f"  {kernel}"
        if plan.compiled is not None:
            m = plan.compiled[i]
            line += f": {m.smem_bytes} B of shared memory of {target.smem_bytes}, {m.registers} registers"
            line += f" and {m.spill_bytes} B of spills a thread"
        else:
            line += f": {plan.smem_bytes} B of shared memory of {target.smem_bytes} predicted, not compiled"
        lines.append(line)
    return lines
