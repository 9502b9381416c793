"""The demo: read a spec, explain its plan, write its kernel, run it on real tensors, show its errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax
from rich.text import Text
from ruamel.yaml import YAML
from torch import Tensor

import flashgen
from flashgen.driver import emit_source, lower_spec
from flashgen.explain.words import explain
from flashgen.grid import Cell, Grid, grid
from flashgen.ir.workload import LONG
from flashgen.plan.plan import Plan
from flashgen.plan.search import choose
from flashgen.plan.select import proved, rankings
from flashgen.plan.source import Source
from flashgen.runtime.api import default_target
from flashgen.spec.gallery import gallery
from flashgen.spec.load import load_spec
from flashgen.spec.model import AttentionSpec
from flashgen.targets.target import load_target
from flashgen.toolchain import triton_version
from flashgen.verify.case import Case
from flashgen.verify.worker import interpreter_fault_here

from . import measure
from .measure import Result

#: What runs, and the key of its cases in ``demo.yaml``.
ON_GPU = {"GPU kernel": "cuda"}
#: Commands to go on with, and what each does.
NEXT = {
    "flashgen new my_attention": "writes a commented spec to start from",
    "flashgen verify my_attention.yaml": "compares it with an fp64 computation",
    "flashgen build my_attention.yaml": "writes its kernel, to read and paste",
}
#: Shows what is worked on meanwhile, and takes how far it is.
Working: TypeAlias = Callable[[str], AbstractContextManager[Callable[[str], None]]]
ON_CPU = {"interpreted kernel": "interpreted", "tile program": "cpu"}


def settings() -> dict[str, Any]:
    """What the demo shows (``demo.yaml``)."""
    loaded: dict[str, Any] = YAML(typ="safe", pure=True).load(Path(__file__).with_name("demo.yaml"))
    return loaded


def demo(out: Path, console: Console, working: Working) -> bool:
    """Run the demo, writing into ``out`` and telling by ``working`` what takes a while; True when every
    result is within its bounds."""
    start = time.perf_counter()
    chosen = settings()
    on_gpu = torch.cuda.is_available()
    path = gallery()[chosen["spec"]]

    def part(number: int, text: str) -> None:
        console.print()
        console.rule(f"[bold]{number}. {text}[/]", align="left")

    part(1, f"A spec: {_relative(path)}")
    spec = load_spec(path)
    text = path.read_text(encoding="utf-8").split("\n\n", 1)[-1].strip()
    console.print(Syntax(text, "yaml", background_color="default", word_wrap=True), soft_wrap=False)

    target = default_target() if on_gpu else chosen["target"]
    part(2, f"Its plan for {target}")
    source, portable = _plan(spec, target, chosen["dtype"], console, working)

    part(3, "Its kernel")
    out.mkdir(parents=True, exist_ok=True)
    kernel = out / f"{spec.name}_{target}.py"
    kernel.write_text(source, encoding="utf-8")
    interpreted = out / f"{spec.name}_interpreted.py"
    interpreted.write_text(portable, encoding="utf-8")
    fault = "" if on_gpu else interpreter_fault_here()
    lines = source.count("\n")
    console.print(f"{_relative(kernel)}: {lines} lines of Triton that import nothing of flashgen")
    if not on_gpu:
        console.print(
            f"{_relative(interpreted)}: the same tiles without what only NVIDIA's compiler takes "
            "(inline assembly, descriptors, register limits), for Triton's interpreter"
        )

    how = "the program itself" if fault else "the kernel in Triton's interpreter"
    part(4, "It runs " + ("on this GPU" if on_gpu else f"without a GPU: {how}"))
    if fault:
        console.print(f"[yellow]The kernel is not run:[/] {escape(fault)}")
    backends = ON_GPU if on_gpu else {"tile program": "cpu"} if fault else ON_CPU
    results = list(_runs(spec, interpreted, chosen, backends, working))
    console.print("done: " + ", ".join(f"{name} in {case.dtype}" for name, case, _ in results))

    part(5, "Its errors against a dense fp64 computation of what the spec means")
    console.print(errors_table(results), soft_wrap=False, crop=False)
    for name, case, result in results:
        for finding in result.findings:
            console.print(f"[red]{name} {case.dtype}[/]: {finding}")
    right = not any(r.findings for _, _, r in results)
    verdict = (
        "[green]Every result is within its bounds[/]" if right else "[red]A result is out of its bounds[/]"
    )
    console.print(f"\n{verdict} ({time.perf_counter() - start:.0f} s in all).")

    part(6, "What to do next")
    for command, what in NEXT.items():
        console.print(f"  {command:<35}  {what}", markup=False)
    return right


def _plan(
    spec: AttentionSpec, target: str, dtype: str, console: Console, working: Working
) -> tuple[str, str]:
    """Print the confirmed plan with its reasons; the sources of its kernel and of the portable one."""
    lowered, gpu = lower_spec(spec), load_target(target)
    work = replace(LONG, Hq=spec.heads.q, Hkv=spec.heads.kv) if spec.heads else LONG

    def emit(plan: Plan) -> Source:
        return emit_source(lowered, plan)

    few = lower_spec(spec.replace(heads=None))  # the interpreter's call has fewer heads than the spec fixes
    if triton_version() is None:
        console.print("[yellow]Triton is not installed, so no compiler confirms the plan.[/]")
        console.print(explain(lowered.program, gpu, dtype, work), soft_wrap=False, crop=False)
        plan = choose(lowered.program, gpu, dtype, work)
    else:
        with working(f"compiling the best candidates for {target} (no such GPU is needed)") as tell:
            ranked = rankings(lowered.program, gpu, dtype, work, emit, tell=tell)
        console.print(explain(lowered.program, gpu, dtype, work, ranked), soft_wrap=False, crop=False)
        plan = proved(lowered.program, gpu, dtype, work, ranked)
    return emit(plan).text, emit_source(few, plan, interpretable=True).text


def _runs(
    spec: AttentionSpec, kernel: Path, chosen: dict[str, Any], backends: dict[str, str], working: Working
) -> Iterator[tuple[str, Case, Result]]:
    """Each case of each backend with its result; without a GPU the written file runs in the interpreter."""
    attention = flashgen.compile(spec)

    def call(q: Tensor, k: Tensor, v: Tensor, **inputs: Any) -> tuple[Tensor, Tensor]:
        out, lse = attention(q, k, v, return_lse=True, **inputs)
        return out, lse

    for name, key in backends.items():
        for case in (Case(**fields) for fields in chosen[key]):
            shape = f"{case.heads}/{case.kv_heads} heads, {case.seqlen_q} queries, {case.seqlen_k} keys"
            with working(f"{name}: {case.dtype}, {shape}"):
                if key == "interpreted":
                    result = measure.interpreted(spec, case, kernel)
                else:
                    result = measure.run(spec, case, call, key)
            yield name, case, result


def errors_table(results: list[tuple[str, Case, Result]]) -> Grid:
    """Two rows for each result: flashgen's errors and those of plain PyTorch."""
    rows: list[tuple[Cell, ...]] = []
    for name, case, r in results:
        kept = Text("missed", "red") if r.findings else Text("kept", "green")
        for who, e, rest in (
            ("flashgen", r.ours, (kept, f"{r.seconds:.1f}")),
            ("PyTorch", r.plain, ()),
        ):
            errors = (f"{x:.1e}" for x in (e.max, e.mean, e.row_rms))
            rows.append((name, case.dtype, who, *errors, *rest))
    heads = ("what ran", "dtype", "errors of", "max", "mean", "row rms", "bounds", "s")
    return grid(heads, rows, ("dtype", "errors of", "bounds"), keys=("errors of",), shared=2)


def _relative(path: Path) -> Path:
    try:
        return path.resolve().relative_to(Path.cwd())
    except ValueError:
        return path
