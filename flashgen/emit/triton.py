"""``Program`` + ``Plan`` -> a standalone Triton module.

The module holds the kernels in launch order and ``forward(q, k, v, ...)``, which launches them on torch
tensors; it imports nothing of flashgen. A template gets finished texts and places them.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, replace
from typing import Any

from flashgen.expr.nodes import Expr, Var
from flashgen.ir.names import plain as unmarked
from flashgen.ir.names import remarked
from flashgen.ir.program import Keep, Kernel, Program, Tensor, statements
from flashgen.plan.arrange import arrange
from flashgen.plan.plan import KernelPlan, Plan

from .address import stride_names
from .body import Body, Style
from .facts import literal
from .host import function, host_facts
from .launch import GROUP, decode, extents
from .layout import Line, fold, needed, render, settled
from .parameters import host_function
from .source import Arg, KernelSource, Provenance, Source
from .templates import environment
from .text import dialect

LENGTHS = ("B", "Hq", "Hkv", "Nq", "Nk")


def _render(template: str, **facts: Any) -> str:
    return environment("triton").get_template(template).render(**facts)


def emit(program: Program, plan: Plan, provenance: Provenance) -> Source:
    """The module of ``program`` under ``plan``; ``plan.portable()`` runs in Triton's interpreter too."""
    assert len(plan.kernels) == len(program.kernels), "a plan has one entry per kernel"
    program = arrange(program, plan)
    giving = remarked(program)
    printed = [_kernel(giving, k, p, plan) for k, p in zip(giving.kernels, plan.kernels, strict=True)]
    sources = tuple(source for _, source in printed)
    host = host_function(
        program,
        sources,
        lambda p, kernels, called: _render("host.j2", **host_facts(p, plan, kernels, _signature(p), called)),
    )
    kernels = [text for text, _ in printed]
    digest = hashlib.sha256("\n".join([*kernels, host]).encode()).hexdigest()
    header = _header(program, plan, provenance, digest, "\n".join(kernels))
    facts = {
        "descriptors": any(a.kind == "descriptor" for source in sources for a in source.args),
        "draws": any(isinstance(s, Keep) for k in program.kernels for s in statements(k.body)),
    }
    text = _render("module.j2", **header, kernels=kernels, host=host, **facts).rstrip("\n") + "\n"
    return Source(text, sources, _manifest(program, plan, provenance, sources, digest))


def _kernel(program: Program, kernel: Kernel, plan: KernelPlan, whole: Plan) -> tuple[str, KernelSource]:
    sides = dict(plan.sides)
    tensors = {t.name: t for t in program.tensors}
    style = Style(whole.dtype, plan.loads == "descriptor", dialect(whole))
    body = Body(kernel, tensors, sides, style, _render)
    start = decode(kernel, plan.order, body.out.text)
    lines = [Line(f"{name} = {value}", name, note) for name, value, note in start]
    lines = needed([*lines, *body.ranges(), *body.lines(kernel.body)])
    used = {name for line in lines for name in line.uses}
    found = [a for a in _args(program, sides, body) if a.name in used]
    lines, final = settled(lines, [a.name for a in found])
    args = tuple(
        replace(a, name=final.get(a.name, a.name), tensor=a.tensor and unmarked(a.tensor)) for a in found
    )
    source = KernelSource(
        kernel.name, args, extents(kernel), sides, plan.num_warps, plan.num_stages, plan.max_registers
    )
    text = _render(
        "kernel.j2",
        name=kernel.name,
        parameters=[f"{a.name}: tl.constexpr" if a.kind == "constexpr" else a.name for a in args],
        unspecialised=[f'"{n}"' for n in source.unspecialised],
        note=plain(kernel.note),
        body=render(lines),
    )
    return text.rstrip("\n"), source


def _args(program: Program, sides: dict[str, int], body: Body) -> list[Arg]:
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


def plain(text: str) -> str:
    """``text`` on one line, fit for a docstring or a comment whatever it holds."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.replace("\\", "/").replace('"""', "'''").split()).rstrip('"')


def _header(
    program: Program, plan: Plan, provenance: Provenance, digest: str, kernels: str
) -> dict[str, Any]:
    spec = json.loads(provenance.spec_json)
    said = [f"score {provenance.score}", *([f"mask {provenance.mask}"] if provenance.mask else [])]
    said += [f"{field} {spec[field]}" for field in ("sink", "dropout") if spec.get(field)]
    where = ", ".join(f"{name} = {value}" for name, value in (spec.get("constants") or {}).items())
    facts = [
        ("spec", f"{', '.join(said)}{f', where {where}' if where else ''}"),
        *(("number", f"{n!r} is {what}") for n, what in provenance.numbers if holds(kernels, n)),
        *provenance.notes,
        ("hash", f"sha256 {hashlib.sha256(provenance.spec_json.encode()).hexdigest()} (canonical JSON)"),
        ("schedule", f"{program.schedule}: {len(program.kernels)} kernel(s)"),
        *(("plan", f"{k.name}: {p}") for k, p in zip(program.kernels, plan.kernels, strict=True)),
        ("target", f"{plan.target}, {plan.dtype}"),
        ("versions", ", ".join(provenance.versions)),
        ("code", f"sha256 {digest}"),
    ]
    return {
        "title": f"{program.name}: attention {function(program)}, generated by flashgen. "
        "Edit the spec, not this file.",
        "words": fold(plain(provenance.description), 100),
        "facts": [(name, "\n          ".join(fold(plain(value), 90))) for name, value in facts if value],
    }


def holds(code: str, number: float | int) -> bool:
    """Whether ``number`` is a literal of ``code``."""
    return re.search(rf"(?<![\w.]){re.escape(repr(number))}(?![\w.])", code) is not None


def _signature(program: Program) -> str:
    """What ``forward`` takes and gives."""
    outs = [t for t in program.tensors if t.role == "out"]
    takes = [t for t in program.tensors if t.role not in ("out", "workspace")]
    shapes = ", ".join(f"{t.argument or t.name} ({', '.join(_dim(d) for d in t.dims)})" for t in takes)
    results = ", ".join(f"{t.argument or t.name} ({', '.join(_dim(d) for d in t.dims)})" for t in outs)
    return "\n    ".join(fold(f"{shapes} -> {results}.", 90))


def _dim(e: Expr) -> str:
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
        return {"name": t.name, "dims": [_dim(d) for d in t.dims], "dtype": t.dtype, "role": t.role}

    return {
        "name": program.name,
        "schedule": program.schedule,
        "target": plan.target,
        "dtype": plan.dtype,
        "code": digest,
        "spec": provenance.spec_json,
        "plan": plan.to_json(),
        "tensors": [tensor(t) for t in program.tensors],
        "kernels": [
            {
                "name": k.name,
                "args": [[a.name, a.kind, a.tensor, a.dim, a.value, a.reach, list(a.block)] for a in k.args],
                "sides": dict(k.sides),
                "num_warps": k.num_warps,
                "num_stages": k.num_stages,
                "max_registers": k.max_registers,
                "compiled": None if m is None else asdict(m),
            }
            for k, m in zip(kernels, plan.compiled or [None] * len(kernels), strict=True)
        ],
    }
