"""Names that give way: the one place where a clash between a user's names and ours, or between two of ours,
is ruled out.

Whoever invents a name for a value of a program, or makes one of an input's, marks it (``invented``,
``marked``). A marked name equals no plain one, and marked names of different origin differ. ``settled`` then
takes the marks off, every name as it was wanted where that is free, with a number elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from flashgen.expr.lengths import LENGTHS, SIDES
from flashgen.expr.nodes import Expr, Read, rewrite

from .attention import AttentionIR
from .program import Kernel, Load, Program, Store, Tensor
from .uses import defined_in

#: A letter of identifiers (to Python and to ``\\w``) that the names of specs, which are ASCII, never hold.
MARK = "\u02bc"
#: What every kernel knows without defining it.
KNOWN = frozenset((*LENGTHS, *SIDES))
_WORD = re.compile(r"\w+")


def invented(wanted: str, taken: Iterable[str] = ()) -> str:
    """A marked name that is none of ``taken``."""
    used, name, n = set(taken), f"{wanted}{MARK}", 1
    while name in used:
        n += 1
        name = f"{wanted}{MARK}{n}"
    return name


def plain(text: str) -> str:
    """``text`` without marks."""
    return text.replace(MARK, "")


def fresh(wanted: str, taken: Iterable[str]) -> str:
    """``wanted``, or with the first number that makes it none of ``taken``."""
    used, name, n = set(taken), wanted, 1
    while name in used:
        n += 1
        name = f"{wanted}{n}" if not wanted[-1].isdigit() else f"{wanted}_{n}"
    return name


def settle(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """What each marked one of ``names`` is called, in their order, beside the plain ones and ``taken``."""
    listed = list(dict.fromkeys(names))
    used = {n for n in listed if MARK not in n} | set(taken)
    table: dict[str, str] = {}
    for name in listed:
        if MARK in name:
            table[name] = fresh(plain(name), used)
            used.add(table[name])
    return table


def renamed(text: str, table: dict[str, str]) -> str:
    """``text`` with every marked word by ``table``, and without its mark where that does not have it."""
    if MARK not in text:
        return text
    return _WORD.sub(lambda m: table.get(m[0], plain(m[0])), text)


def marked(ir: AttentionIR) -> AttentionIR:
    """``ir`` with the names of its inputs marked."""

    def rule(e: Expr) -> Expr | None:
        return Read(_of_user(e.name), e.index, e.type) if isinstance(e, Read) else None

    return replace(
        ir,
        score=rewrite(ir.score, rule),
        mask=None if ir.mask is None else rewrite(ir.mask, rule),
        sink=None if ir.sink is None else rewrite(ir.sink, rule),
        inputs=tuple(replace(i, name=_of_user(i.name)) for i in ir.inputs),
    )


def _of_user(name: str) -> str:
    """Marked on both sides, so that what stands around it in another name is never taken for a part of it."""
    return f"{MARK}{name}{MARK}"


def settled(program: Program) -> Program:
    """``program`` with plain names. Tensors are a space of their own, and so is each kernel's inside."""
    tensors = settle(t.name for t in program.tensors)
    kernels = settle(k.name for k in program.kernels)
    return replace(
        program,
        tensors=tuple(_tensor(t, tensors) for t in program.tensors),
        kernels=tuple(_kernel(k, tensors, kernels) for k in program.kernels),
        sums=tuple(
            replace(s, src=renamed(s.src, tensors), dst=renamed(s.dst, tensors)) for s in program.sums
        ),
    )


def _tensor(t: Tensor, table: dict[str, str]) -> Tensor:
    return replace(t, name=renamed(t.name, table), argument=plain(t.name)) if MARK in t.name else t


def _kernel(kernel: Kernel, tensors: dict[str, str], kernels: dict[str, str]) -> Kernel:
    table = settle(local_names(kernel), KNOWN)
    out: Kernel = _within(kernel, lambda name: renamed(name, table), lambda name: renamed(name, tensors))
    return replace(out, name=renamed(kernel.name, kernels), invented=tuple(table.values()))


def remarked(program: Program) -> Program:
    """``settled`` undone: what was invented, or made of an input's name, gives way once more, now to the
    names of a printed module."""
    tensors = {t.name: invented(t.name) for t in program.tensors if t.argument}

    def tensor(name: str) -> str:
        return tensors.get(name, name)

    def kernel(k: Kernel) -> Kernel:
        table = {name: invented(name) for name in k.invented}
        body = _within(k.body, lambda name: table.get(name, name), tensor)
        return replace(k, body=body)

    return replace(
        program,
        tensors=tuple(replace(t, name=tensor(t.name)) for t in program.tensors),
        kernels=tuple(map(kernel, program.kernels)),
        sums=tuple(replace(s, src=tensor(s.src), dst=tensor(s.dst)) for s in program.sums),
    )


def keys(program: Program) -> dict[str, str]:
    """What a call knows the tensors of a program by: inputs by the user's names, others by ours, in brackets
    where that is an input's."""
    users = {t.argument for t in program.tensors if t.role == "input" and t.argument}
    given = {f"({n})" if n in users else n for n in ("do", "dlse")}
    found: dict[str, str] = {}
    for t in sorted(program.tensors, key=lambda t: t.role == "workspace"):
        key = t.argument or t.name
        while t.role != "input" and (key in users or key in found.values()):
            key = f"({key})"
        while t.role == "out" and t.argument and key in given:
            key = f"({key})"
        found[t.name] = key
    return found


def local_names(kernel: Kernel) -> list[str]:
    """The scalars, tiles, loop variables and axes of a kernel, in order."""
    return [*(a.name for a in kernel.grid), *(a.name for a in kernel.axes), *defined_in(kernel.body)]


def _within(x: Any, local: Callable[[str], str], tensor: Callable[[str], str]) -> Any:
    """``x``, a part of a kernel, with its names replaced: those of tensors, and all others."""
    if isinstance(x, str):
        return local(x)
    if isinstance(x, tuple):
        parts = tuple(_within(e, local, tensor) for e in x)
        return x if all(a is b for a, b in zip(x, parts, strict=True)) else parts
    if not is_dataclass(x) or isinstance(x, type):
        return x
    values: dict[str, Any] = {}
    for f in fields(x):
        old = getattr(x, f.name)
        of_tensor = (isinstance(x, Load) and f.name == "src") or (isinstance(x, Store) and f.name == "dst")
        new = tensor(old) if of_tensor else _within(old, local, tensor)
        if new is not old and new != old:
            values[f.name] = new
    return replace(x, **values) if values else x
