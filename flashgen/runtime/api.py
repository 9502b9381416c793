"""``flashgen.compile``: a spec becomes a callable on torch tensors."""

from __future__ import annotations

import reprlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import torch
from torch import Tensor

from flashgen.errors import Place, PlanError, SpecError, TensorError
from flashgen.spec.gallery import find

from . import op, transforms
from .cache import entry
from .check import check_given, check_seed, check_training, named, seed_tensor, transformed
from .record import Record
from .signature import signature, without_dropout
from .source import prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashgen.ir.workload import Workload
    from flashgen.spec.model import AttentionSpec

#: Bytes of a file from which on it is left to the loader, which has its own limit.
PARSED = 1 << 20


class CompiledAttention:
    """A compiled spec: ``attn(q, k, v, slopes=slopes)``.

    Works on CPU tensors (the program runs in the interpreter) and CUDA tensors (the generated kernel runs),
    under ``torch.compile`` and in ``torch.export``.
    """

    def __init__(self, spec_json: str, target: str | None = None) -> None:
        self.spec_json = spec_json
        self.target = target
        self.signature = signature(spec_json)
        self._names = self.signature.names
        self._without_dropout = without_dropout(spec_json) if self.signature.dropout else spec_json

    @cached_property
    def spec(self) -> AttentionSpec:
        """The spec itself."""
        from flashgen.spec.model import AttentionSpec

        return AttentionSpec.from_json(self.spec_json)

    def source(self, target: str | None = None, dtype: str | None = None, schedule: str = "flash2") -> Record:
        """The generated module for a GPU and a dtype (defaults: those it was compiled for), from the cache
        where it is there; ``schedule="backward"`` gives that of the backward, others by their names. Raises
        ``PlanError`` where none can be generated."""
        found = prepare(self.spec_json, target or self.target or default_target(), dtype, schedule)
        if found is None:
            raise PlanError(
                f"{self.signature.name} has no generated module for the cpu, which runs the program itself; "
                "name a GPU, such as source('h100')"
            )
        return found

    def warm(
        self,
        q: Sequence[int] | Workload,
        k: Sequence[int] | None = None,
        *,
        dtype: torch.dtype | str | None = None,
        target: str | None = None,
        backward: bool | None = None,
        **inputs: torch.dtype,
    ) -> None:
        """Compile ahead what calls of these sizes run, forward and, where the spec trains, backward.

        ``q`` and ``k`` (default: as q) are shapes (batch, heads, seqlen, head_dim) of contiguous tensors.
        ``dtype``: default the first that the target has of the spec's. ``inputs``: dtypes of the spec's
        inputs, by default fp32, int64 and bool. Without ``target`` (or where it is the current CUDA device's)
        kernels are loaded too; for another GPU they are kept in the cache, for calls that will find them.
        Nothing is compiled for the CPU. Before a CUDA graph is captured, warm its sizes. Raises
        ``TensorError``, and ``PlanError`` where no kernel exists.
        """
        from .ahead import warm

        spec, here = self.spec_json, default_target()
        backward = self.signature.backward if backward is None else backward
        jobs = [
            (spec, "flash2"),
            (self._without_dropout, "flash2"),
            *([(spec, "backward")] if backward else []),
        ]
        warm(tuple(dict.fromkeys(jobs)), here, target or self.target or here, q, k, dtype, inputs)

    @overload
    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        return_lse: Literal[False] = False,
        seed: int | Tensor | None = None,
        training: bool = True,
        **inputs: Tensor,
    ) -> Tensor: ...
    @overload
    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        return_lse: Literal[True],
        seed: int | Tensor | None = None,
        training: bool = True,
        **inputs: Tensor,
    ) -> tuple[Tensor, Tensor]: ...

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        return_lse: bool = False,
        seed: int | Tensor | None = None,
        training: bool = True,
        **inputs: Tensor,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """``out`` (batch, heads, seqlen_q, d_v) in q's dtype and dim order, or ``(out, lse)``.

        q, k, v are (batch, heads, seqlen, head_dim) with last stride 1; the spec's inputs are named. ``lse``
        is fp32 (batch, heads, seqlen_q), natural logarithm (fp64 for fp64 tensors). Both are differentiable
        by q, k, v and the inputs declared with ``grad: true``, once.

        ``seed`` (an int or an int64 tensor of one element) decides what dropout drops; without one torch's
        generator draws it. ``training=False`` drops nothing; ``torch.no_grad()`` alone still
        drops. Autocast casts q, k and v as it does SDPA's.
        Raises ``TensorError``, before anything runs, for tensors that do not fit.
        """
        listed = named(self.signature, inputs) if self._names or inputs else []
        for t in (q, k, v, *listed):
            if not isinstance(t, Tensor) or t.requires_grad:
                check_given(self.signature, (q, k, v, *listed))
        if return_lse and "lse" not in self.signature.outputs:
            raise TensorError(f"{self.signature.name} {self.signature.without_lse()}")
        check_training(training)
        spec, drawn = self.spec_json, None
        if self.signature.dropout:
            if training:
                drawn = seed_tensor(seed, q.device)
            else:
                spec = self._without_dropout
                if seed is not None:
                    check_seed(seed, q.device)
        elif seed is not None:
            raise TensorError(f"{self.signature.name} has no dropout for a seed: its field `dropout` is 0")
        if torch.compiler.is_compiling() or not transformed():
            out, lse, _ = op.attention(q, k, v, listed, spec, drawn)
        else:
            out, lse = transforms.attention(q, k, v, listed, spec, drawn)
        return (out, lse) if return_lse else out

    def __repr__(self) -> str:
        return f"<flashgen attention {self.signature.name}>"


def compile(spec: str | Path | AttentionSpec, target: str | None = None) -> CompiledAttention:
    """The attention of a spec: a YAML file's path, a gallery's name, or an ``AttentionSpec``.

    The kernel for ``target`` (default: the current CUDA device's, or the CPU's) is planned and generated
    now, or taken from the cache; kernels for other devices, dtypes and workloads follow at first use.
    Raises ``SpecError`` for a spec that is not sound, ``PlanError`` where it has no plan.
    """
    attention = CompiledAttention(canonical(spec), target or default_target())
    assert attention.target is not None
    prepare(attention.spec_json, attention.target)
    return attention


def canonical(spec: str | Path | AttentionSpec) -> str:
    """The canonical JSON of a spec however it is given; a file already read before is not parsed again."""
    if not isinstance(spec, (str, Path)):
        made = getattr(spec, "canonical_json", None)
        if made is None or isinstance(spec, type):
            said = "expected a spec's path, a gallery's name or an AttentionSpec"
            got = f"got {reprlib.repr(spec)} ({type(spec).__name__})"
            if isinstance(spec, dict):
                got += "; flashgen.AttentionSpec(**fields) makes a spec of it"
            raise SpecError([(Place(), f"{said}, {got}")])
        return str(made())
    path = find(spec)

    def parse() -> dict[str, str]:
        from flashgen.spec.load import load_spec

        return {"spec.json": load_spec(path).canonical_json()}

    try:
        text = path.read_text(encoding="utf-8") if path.stat().st_size < PARSED else None
    except (OSError, UnicodeDecodeError):
        text = None
    if text is None:  # the loader says what is wrong with it
        return parse()["spec.json"]
    return entry({"what": "spec", "text": text}, parse)[1]["spec.json"]


def default_target() -> str:
    """The current CUDA device's target, or ``cpu``."""
    if not torch.cuda.is_available():
        return "cpu"
    from .device import target_of

    return target_of(torch.cuda.current_device()).name
