"""What the runtime keeps of a generated module: its text, how to launch its kernels, the plan. As JSON it
stands in the cache; reading it back needs neither the compiler's levels nor the template engine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from flashgen.backends.triton.emit.source import Arg
from flashgen.expr.nodes import Call, Const, Expr, Var, children, integer
from flashgen.ir.names import keys
from flashgen.ir.program import Sum
from flashgen.plan.plan import Plan

if TYPE_CHECKING:
    from flashgen.backends.triton.emit.source import Source
    from flashgen.ir.program import Program

#: An int expression as JSON: a number, a name, or ``[operator, argument, ...]``.
Size: TypeAlias = int | str | list[Any]


@dataclass(frozen=True)
class Launch:
    """One kernel: its arguments in order, and sizes whose product is the number of programs."""

    name: str
    args: tuple[Arg, ...]
    extents: tuple[Size, ...]
    sides: dict[str, int]
    num_warps: int
    num_stages: int
    max_registers: int = 0

    def programs(self, lengths: Mapping[str, int]) -> int:
        """How many programs a launch at these lengths has."""
        known = {**lengths, **self.sides}
        return math.prod(value(e, known) for e in self.extents)


@dataclass(frozen=True)
class Workspace:
    """A tensor the kernels pass on between them: contiguous, allocated for each call."""

    name: str
    dims: tuple[Size, ...]
    dtype: str


@dataclass(frozen=True, repr=False)
class Record:
    """A generated module at ``path``, which prints as its text."""

    path: Path
    text: str
    kernels: tuple[Launch, ...]
    workspaces: tuple[Workspace, ...]
    plan: Plan
    sums: tuple[Sum, ...] = ()

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        names = ", ".join(k.name for k in self.kernels)
        return f"<{names} for {self.plan.target}, {self.plan.dtype}: print() shows the source, {self.path}>"

    def _repr_html_(self) -> str:
        from io import StringIO

        from rich.console import Console
        from rich.syntax import Syntax

        width = max(len(line) for line in self.text.splitlines())
        console = Console(record=True, file=StringIO(), width=width)
        console.print(Syntax(self.text, "python", theme="default", background_color="default"))
        return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


FILES = ("kernel.py", "manifest.json", "launch.json", "plan.json")


def texts(source: Source, program: Program, plan: Plan) -> dict[str, str]:
    """The files of a cache entry."""
    called = keys(program)
    launches = [
        {
            **asdict(k),
            "args": [_arg(a, called) for a in k.args],
            "extents": [size(e) for e in k.extents],
            "sides": dict(k.sides),
        }
        for k in source.kernels
    ]
    workspaces = [
        {"name": called[t.name], "dims": [size(d) for d in t.dims], "dtype": t.dtype}
        for t in program.tensors
        if t.role == "workspace"
    ]
    sums = [
        {"dst": called[s.dst], "src": called[s.src], "axes": s.axes, "index": [size(e) for e in s.index]}
        for s in program.sums
    ]
    launch = {"kernels": launches, "workspaces": workspaces, "sums": sums}
    manifest = json.dumps(source.manifest, indent=2, sort_keys=True)
    bodies = (source.text, manifest + "\n", json.dumps(launch, indent=1) + "\n", plan.to_json())
    return dict(zip(FILES, bodies, strict=True))


def _arg(a: Arg, called: Mapping[str, str]) -> dict[str, Any]:
    """An argument as a call fills it in: its tensor by the name that the call knows it by."""
    return asdict(a) | {"tensor": None if a.tensor is None else called[a.tensor]}


def record(place: Path, files: Mapping[str, str]) -> Record:
    """The record of a cache entry's files."""
    text, _, launch, plan = (files[name] for name in FILES)
    read = json.loads(launch)
    return Record(
        path=place / FILES[0],
        text=text,
        kernels=tuple(
            Launch(
                k["name"],
                tuple(Arg(**{**a, "block": tuple(a["block"])}) for a in k["args"]),
                tuple(k["extents"]),
                k["sides"],
                k["num_warps"],
                k["num_stages"],
                k["max_registers"],
            )
            for k in read["kernels"]
        ),
        workspaces=tuple(Workspace(w["name"], tuple(w["dims"]), w["dtype"]) for w in read["workspaces"]),
        plan=Plan.from_json(plan),
        sums=tuple(
            Sum(s["dst"], s["src"], tuple(s["axes"]), tuple(map(expression, s["index"])))
            for s in read["sums"]
        ),
    )


def size(e: Expr) -> Size:
    """An int expression as JSON."""
    if isinstance(e, Const):
        return int(e.value)
    if isinstance(e, Var):
        return e.name
    op = getattr(e, "op", None)
    if op is None:
        raise AssertionError(f"a size reads no tensor: {e}")
    return [op, *(size(c) for c in children(e))]


def expression(e: Size) -> Expr:
    """The int expression that ``size`` wrote."""
    if isinstance(e, str):
        return Var(e, "int")
    if isinstance(e, int):
        return integer(e)
    return Call(e[0], tuple(expression(a) for a in e[1:]), "int")


def value(e: Size, known: Mapping[str, int]) -> int:
    """The number a size stands for."""
    if isinstance(e, str):
        return known[e]
    if isinstance(e, int):
        return e
    from flashgen.expr.ops import OPS

    return int(OPS[e[0]].python(*(value(a, known) for a in e[1:])))
