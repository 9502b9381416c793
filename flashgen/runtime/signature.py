"""What a call of one spec must look like, read off its canonical JSON without building the spec.

The op's ``spec`` argument is that JSON, so a graph exported elsewhere can be checked and run here. Reading
it directly keeps pydantic and the expression parser out of a warm start.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from flashgen.errors import Place, PlanError, SpecError


@dataclass(frozen=True)
class InputDecl:
    """A named input: its dims, each a symbol such as ``seqlen_k`` or a number, and ``float int bool``."""

    name: str
    shape: tuple[str | int, ...]
    type: Literal["float", "int", "bool"]


@dataclass(frozen=True)
class Signature:
    """Names, dims and dtypes of a spec's tensors. ``heads`` is (Hq, Hkv) where the spec fixes them.

    ``names`` are the inputs' in the order in which the op takes them.
    """

    name: str
    d_qk: int
    d_v: int
    dtypes: tuple[str, ...]
    heads: tuple[int, int] | None
    inputs: tuple[InputDecl, ...]
    names: tuple[str, ...]
    outputs: tuple[str, ...]


@lru_cache(maxsize=1024)
def signature(spec: str) -> Signature:
    """The signature of a spec's canonical JSON. Raises ``SpecError`` for a text that is none."""
    try:
        return _read(json.loads(spec))
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise SpecError([(Place(), f"expected a spec's canonical JSON, got {spec[:60]!r}")]) from e


def _read(fields: dict[str, Any]) -> Signature:
    dims, heads, inputs = fields["head_dim"], fields.get("heads"), fields.get("inputs") or {}
    return Signature(
        name=fields["name"],
        d_qk=dims["qk"] if isinstance(dims, dict) else dims,
        d_v=dims["v"] if isinstance(dims, dict) else dims,
        dtypes=tuple(fields["dtypes"]),
        heads=None if heads is None else (heads["q"], heads["kv"]),
        inputs=tuple(InputDecl(name, tuple(i["shape"]), i["dtype"]) for name, i in inputs.items()),
        names=tuple(inputs),
        outputs=tuple(fields["outputs"]),
    )


def default_dtype(sig: Signature, target: str) -> str:
    """The first dtype of a spec that a target's kernels have."""
    fits = [d for d in sig.dtypes if target == "cpu" or d != "fp64"]
    if not fits:
        raise PlanError(f"{sig.name} is declared for {', '.join(sig.dtypes)} only, not for {target}")
    return fits[0]
