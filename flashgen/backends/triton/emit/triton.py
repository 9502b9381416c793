"""``Program`` + ``Plan`` -> a standalone Triton module.

The module holds the kernels in launch order and ``forward(q, k, v, ...)``, which launches them on torch
tensors; it imports nothing of flashgen. A template gets finished texts and places them.
"""

from __future__ import annotations

import json
import keyword
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, get_args

from flashgen.backends.listing import Line, walk
from flashgen.backends.passes.dead import needed
from flashgen.backends.passes.hoisting import hoisted, unrepeated
from flashgen.backends.passes.inline import inlined
from flashgen.backends.passes.naming import settled
from flashgen.backends.passes.sharing import shared
from flashgen.expr.lengths import LENGTHS
from flashgen.expr.nodes import Expr, Var
from flashgen.ir.names import plain as unmarked
from flashgen.ir.names import remarked
from flashgen.ir.program import Kernel, Program, Tensor
from flashgen.plan.late_sums import arrange
from flashgen.plan.plan import KernelPlan, Plan
from flashgen.plan.source import Arg, KernelSource, Provenance, Source
from flashgen.templates import environment

from .address import stride_names
from .facts import literal
from .host import host_facts
from .hostchecks import checks, elements
from .launch import GROUP, decode, extents
from .layout import fold, render
from .lines import Lines
from .lower import Lower
from .module import Part, joined, module_text, plain
from .nodes import Broadcast, Cast, Copy, Reduced
from .parameters import Parameters, host_function
from .text import dialect

#: Names that the text of a kernel uses without assigning them.
TAKEN = (*keyword.kwlist, "tl", "range", "float", "dropout_keep")


def _render(template: str, **facts: Any) -> str:
    return environment("triton").get_template(template).render(**facts)


def emit(program: Program, plan: Plan, provenance: Provenance, *more: tuple[Program, Plan]) -> Source:
    """The module of ``program`` under ``plan``; ``plan.portable()`` runs in Triton's interpreter too.

    ``more``: the backward of a forward ``program``, for one file that holds both and ``attention``, which is
    differentiable. ``attention`` stands at the end of every module of a forward.
    """
    parts = [_part(a, b, provenance) for a, b in ((program, plan), *more)]
    text, digest = module_text(parts, provenance, _render)
    manifests = [_manifest(p.program, p.plan, provenance, p.sources, digest) for p in parts]
    manifest = manifests[0] if len(parts) == 1 else joined(manifests)
    return Source(text, tuple(k for p in parts for k in p.sources), manifest)


def _part(program: Program, plan: Plan, provenance: Provenance) -> Part:
    assert len(plan.kernels) == len(program.kernels), "a plan has one entry per kernel"
    program = arrange(program, plan)
    giving = remarked(program)
    printed = [_kernel(giving, k, p, plan) for k, p in zip(giving.kernels, plan.kernels, strict=True)]
    sources = tuple(source for _, source in printed)
    spec = json.loads(provenance.spec_json)
    heads = (spec["heads"]["q"], spec["heads"]["kv"]) if spec.get("heads") else None
    dtypes = provenance.elements or elements(plan.dtype, spec.get("dtypes", ()))

    def host(p: Program, kernels: Sequence[KernelSource], called: Parameters) -> str:
        lines = checks(p, dtypes, heads)
        return _render("host.j2", **host_facts(p, plan, kernels, _signature(p), lines, called))

    texts = tuple(text for text, _ in printed)
    return Part(program, plan, sources, texts, host_function(program, sources, host))


def _inside(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Reductions that are read once stand in the elementwise value that reads them."""
    holds = (Broadcast, Cast, Copy, *get_args(Expr))
    return inlined(lines, lambda a: isinstance(a.value, Reduced), lambda a: isinstance(a.value, holds))


#: What is done to a kernel's lines, in this order, before they get their names and are printed.
PASSES: tuple[Callable[[Sequence[Line]], tuple[Line, ...]], ...] = (hoisted, unrepeated, needed, _inside)


def lowered(program: Program, kernel: Kernel, plan: KernelPlan, dtype: str) -> tuple[tuple[Line, ...], Lower]:
    """The lines of ``kernel`` under ``plan``, and what made them."""
    lower = Lower(kernel, {t.name: t for t in program.tensors}, dict(plan.sides), dtype, plan.loads)
    start = decode(kernel, plan.order, lower.low)
    return (*start, *lower.ranges(), *lower.lines(shared(kernel).body)), lower


def _kernel(program: Program, kernel: Kernel, plan: KernelPlan, whole: Plan) -> tuple[str, KernelSource]:
    sides = dict(plan.sides)
    lines, lower = lowered(program, kernel, plan, whole.dtype)
    for done in PASSES:
        lines = done(lines)
    used = {name for line in walk(lines) for name in line.uses}
    found = [a for a in arguments(program, sides, lower) if a.name in used]
    lines, final = settled(lines, [a.name for a in found], TAKEN)
    args = tuple(
        replace(a, name=final.get(a.name, a.name), tensor=a.tensor and unmarked(a.tensor)) for a in found
    )
    source = KernelSource(
        kernel.name, args, extents(kernel), sides, plan.num_warps, plan.num_stages, plan.max_registers
    )
    printed = Lines(_render, whole.dtype != "fp32", dialect(whole)).texts(lines)
    text = _render(
        "kernel.j2",
        name=kernel.name,
        parameters=[f"{a.name}: tl.constexpr" if a.kind == "constexpr" else a.name for a in args],
        unspecialised=[f'"{n}"' for n in source.unspecialised],
        note=plain(kernel.note),
        body=render(printed),
    )
    return text.rstrip("\n"), source


def arguments(program: Program, sides: Mapping[str, int], body: Lower) -> list[Arg]:
    """Every argument a kernel of ``program`` could use, in order."""
    reach = body.addresses.reach
    args = [Arg(f"{t.name}_ptr", "ptr", t.name) for t in program.tensors]
    args += [Arg(d.name, "descriptor", d.tensor, block=d.block) for d in body.descriptors.values()]
    for t in program.tensors:
        for dim, name in enumerate(stride_names(t)):
            if name:
                args.append(Arg(name, "stride", t.name, dim, reach=reach.get(name, 0)))
    args += [Arg(n, "length") for n in LENGTHS]
    args.append(Arg(GROUP, "group"))
    args += [Arg(n, "float") for n in program.floats]
    return args + [Arg(n, "constexpr", value=v) for n, v in sides.items()]


def _signature(program: Program) -> str:
    """What ``forward`` takes and gives."""
    outs = [t for t in program.tensors if t.role == "out"]
    takes = [t for t in program.tensors if t.role not in ("out", "workspace")]
    shapes = ", ".join(f"{t.argument or t.name} ({', '.join(dim(d) for d in t.dims)})" for t in takes)
    results = ", ".join(f"{t.argument or t.name} ({', '.join(dim(d) for d in t.dims)})" for t in outs)
    return "\n    ".join(fold(f"{shapes} -> {results}.", 90))


def dim(e: Expr) -> str:
    """A dim as a reader names it: a length, or a number."""
    return e.name if isinstance(e, Var) else str(literal(e, {}))


def _manifest(
    program: Program,
    plan: Plan,
    provenance: Provenance,
    kernels: tuple[KernelSource, ...],
    digest: str,
) -> dict[str, Any]:
    """Everything a launcher needs besides the text, as plain data."""

    def tensor(t: Tensor) -> dict[str, Any]:
        return {"name": t.name, "dims": [dim(d) for d in t.dims], "dtype": t.dtype, "role": t.role}

    return {
        "name": program.name,
        "schedule": program.schedule,
        "target": plan.target,
        "dtype": plan.dtype,
        "code": digest,
        "spec": json.loads(provenance.spec_json),
        "plan": json.loads(plan.to_json()),
        "tensors": [tensor(t) for t in program.tensors],
        "kernels": [
            {
                "name": k.name,
                "args": [asdict(a) for a in k.args],
                "sides": dict(k.sides),
                "num_warps": k.num_warps,
                "num_stages": k.num_stages,
                "max_registers": k.max_registers,
                "compiled": None if m is None else asdict(m),
            }
            for k, m in zip(kernels, plan.compiled or [None] * len(kernels), strict=True)
        ],
    }
