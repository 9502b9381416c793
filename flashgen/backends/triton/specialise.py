"""What a kernel is compiled for, beside its plan: types of its tensors, their alignment, unit strides.

Lengths are plain 32-bit arguments, and so are strides that no more is known of.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from flashgen.expr.nodes import Const, Expr
from flashgen.ir.dtypes import item_bytes
from flashgen.ir.program import Program, Tensor
from flashgen.plan.source import Arg

#: Bytes for which loads of a whole vector need pointers and strides to be multiples.
VECTOR_BYTES = 16
#: Tensors of rows of a head dim.
ROWS = ("q", "k", "v", "o", "do", "dq", "dk", "dv")
#: Types, constants and attributes of a kernel's arguments, as ``triton.compiler.ASTSource`` takes them.
Specialisation: TypeAlias = tuple[dict[str, str], dict[Any, Any], dict[Any, Any]]
#: The type of a pointer.
_TYPES = {
    "fp16": "*fp16",
    "bf16": "*bf16",
    "fp32": "*fp32",
    "acc": "*fp32",
    "int32": "*i32",
    "int64": "*i64",
    "bool": "*i1",
}


@dataclass(frozen=True)
class Kind:
    """What a kernel is specialised on for one tensor: the type of its pointer (``*bf16``), bytes an
    element, whether the pointer and whether all strides are multiples of 16 bytes, and dims of stride 1.
    ``described``: a tensor descriptor can read it."""

    pointer: str
    item_bytes: int
    aligned: bool
    strides_aligned: bool
    unit: tuple[int, ...] = ()
    described: bool = False


def specialise(args: Sequence[Arg], kinds: Mapping[str, Kind]) -> Specialisation:
    """How a kernel with these arguments is specialised for tensors of these kinds."""
    types: dict[str, str] = {}
    constants: dict[Any, Any] = {}
    attributes: dict[Any, Any] = {}
    for i, a in enumerate(args):
        if a.kind in ("length", "group"):
            types[a.name] = "i32"
        elif a.kind == "float":
            types[a.name] = "fp32"
        elif a.kind == "constexpr":
            types[a.name], constants[(i,)] = "constexpr", a.value
        else:
            kind = kinds[a.tensor or ""]
            if a.kind == "descriptor":
                types[a.name] = f"tensordesc<{kind.pointer[1:]}{list(a.block)}>"
            elif a.kind == "ptr":
                types[a.name] = kind.pointer
                if kind.aligned:
                    attributes[(i,)] = [["tt.divisibility", VECTOR_BYTES]]
            elif a.dim in kind.unit:
                types[a.name], constants[(i,)] = "constexpr", 1
            else:
                # Strides that only ever move a 64-bit base may themselves pass 2^31.
                types[a.name] = "i32" if a.reach else "i64"
                if kind.strides_aligned:
                    attributes[(i,)] = [["tt.divisibility", max(1, VECTOR_BYTES // kind.item_bytes)]]
    return types, constants, attributes


def contiguous(program: Program, dtype: str) -> dict[str, Kind]:
    """The kinds of a program's tensors where they are aligned and contiguous, and lengths and numbers of
    heads multiples of 16."""
    return {t.name: _contiguous(t, dtype) for t in program.tensors}


def _contiguous(t: Tensor, dtype: str) -> Kind:
    pointer, item = _TYPES[dtype if t.dtype == "elem" else t.dtype], item_bytes(t.dtype, dtype)
    given = t.role == "input"
    steps = [math.prod(map(_least, t.dims[d:])) for d in range(1, len(t.dims))]
    aligned = (given or t.name in ROWS) and all(s * item % VECTOR_BYTES == 0 for s in steps)
    unit = (len(t.dims) - 1,) if given and t.dims else ()
    return Kind(pointer, item, True, aligned, unit, aligned and t.name in ROWS)


def describable_loads(boxes: Collection[str], kinds: Mapping[str, Kind]) -> bool:
    """Whether tensor descriptors can read all ``boxes``, the tensors that loops read so."""
    return all(kinds[n].described for n in boxes)


def _least(extent: Expr) -> int:
    return int(extent.value) if isinstance(extent, Const) else 16
