"""The names of the host function: an input's parameter is what the user calls it, and everything else in the
function gives way.

Where a local name of ours is the same, the parameter gets another name on the first line. Only a name that
the function looks up outside (a module, a kernel) cannot be a parameter, which then gets a number.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flashgen.ir.names import fresh, invented
from flashgen.ir.program import Program

from .source import KernelSource

#: Prints the host function of a program and its kernels.
Print = Callable[[Program, Sequence[KernelSource], "Parameters"], str]


@dataclass(frozen=True)
class Parameters:
    """``names``: the parameters of tensors that are called otherwise inside."""

    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        """The lines that call them otherwise."""
        return [f"{name} = {parameter}" for name, parameter in self.names.items()]


def host_function(program: Program, kernels: Sequence[KernelSource], printed: Print) -> str:
    """The text of the host function, printed twice: the names of the first tell which ones are free."""
    giving = [t for t in program.tensors if t.role not in ("q", "k", "v")]
    users = {t.argument for t in giving if t.role == "input"}
    if not users:
        return printed(program, kernels, Parameters())
    ours, outside = _names(printed(*_called({t.name: invented(t.name) for t in giving}, program, kernels)))
    called: dict[str, str] = {}
    again: dict[str, str] = {}
    for t in sorted(giving, key=lambda t: t.role != "input"):
        wanted, theirs = t.argument or t.name, t.role == "input"
        if theirs and wanted not in ours:
            called[t.name] = wanted
            continue
        called[t.name] = name = fresh(wanted, ours | users | set(called.values()))
        if theirs and wanted not in outside:
            again[name] = wanted
    return printed(*_called(called, program, kernels)[:2], Parameters(again))


def _called(
    names: Mapping[str, str], program: Program, kernels: Sequence[KernelSource]
) -> tuple[Program, list[KernelSource], Parameters]:
    """Both with their tensors called so."""

    def name(tensor: str) -> str:
        return names.get(tensor, tensor)

    tensors = tuple(replace(t, name=name(t.name)) for t in program.tensors)
    sums = tuple(replace(s, src=name(s.src), dst=name(s.dst)) for s in program.sums)
    sources = [
        replace(k, args=tuple(replace(a, tensor=a.tensor and name(a.tensor)) for a in k.args))
        for k in kernels
    ]
    return replace(program, tensors=tensors, sums=sums), sources, Parameters()


def _names(text: str) -> tuple[set[str], set[str]]:
    """(the names in a function, those of them that it does not define)."""
    tree = ast.parse(text)
    found = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
    inside = {n.id for n in found if isinstance(n.ctx, ast.Store)}
    inside |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    every = {n.id for n in found} | inside
    return every, every - inside
