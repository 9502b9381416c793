"""A case: a few words and numbers from which all tensors of one call follow, the same on every machine.

Cases are what hypothesis draws and shrinks, what travels to the interpreter's process, and what a
reproducer prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from flashgen.expr.nodes import Call, Expr, Read, reads, walk
from flashgen.spec.model import AttentionSpec
from flashgen.spec.weights import WEIGHTS

from .inputs import ARRIVING, DISTRIBUTIONS, LAYOUTS, Draw, large
from .oracle import scale_of
from .pairs import Pairs
from .run import PLANNED, Tile

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32, "fp64": torch.float64}
INTS = (torch.int32, torch.int64)
#: What int inputs count from: usually 0, now and then an edge of 32 bits, a Unix time, half of the range.
BASES = (0, 0, 0, 0, 2**31 - 1, -(2**31), 1_700_000_000, 2**30)
LARGEST = 6e4  # of an element, so that every dtype holds it


@dataclass(frozen=True)
class Case:
    """Shapes, dtype, distribution and layouts of one call.

    ``layouts`` are of q, k, v. ``stride0`` broadcasts the spec's inputs over one of their dims.
    ``poison`` puts NaN and infinities into keys that the mask hides from every query.
    ``large`` puts numbers as masks are made of, and as large as there are, into an input that is added to the
    score or the sink.
    ``tile`` gives BLOCK_M and BLOCK_N instead of the planner. ``through`` says at which results a gradient
    arrives, ``dout`` is the layout of that of ``out``. ``dropout`` is the seed of a spec that has dropout.
    """

    batch: int = 1
    heads: int = 1
    kv_heads: int = 1
    seqlen_q: int = 1
    seqlen_k: int = 1
    dtype: str = "fp32"
    distribution: str = "randn"
    layouts: tuple[str, str, str] = ("contiguous",) * 3
    stride0: bool = False
    poison: bool = False
    seed: int = 0
    tile: Tile = PLANNED
    through: Literal["out", "lse", "both"] = "out"
    dout: str = "contiguous"
    dropout: int = 0
    large: bool = False

    def to_json(self) -> dict[str, Any]:
        """As JSON values; ``Case(**values)`` after ``from_json``."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Case:
        """The inverse of ``to_json``."""
        fields: dict[str, Any] = {n: tuple(x) if isinstance(x, list) else x for n, x in values.items()}
        return Case(**fields)

    def sizes(self) -> dict[str, int]:
        """The symbols of input shapes."""
        return {
            "batch": self.batch,
            "heads": self.heads,
            "kv_heads": self.kv_heads,
            "seqlen_q": self.seqlen_q,
            "seqlen_k": self.seqlen_k,
        }

    def tensors(
        self, spec: AttentionSpec, device: str | torch.device = "cpu"
    ) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """q (B, Hq, Nq, D), k (B, Hkv, Nk, D), v (B, Hkv, Nk, Dv) and the spec's inputs by name."""
        gen = torch.Generator().manual_seed(self.seed)
        q_shape = (self.batch, self.heads, self.seqlen_q, spec.d_qk)
        kv_shape = (self.batch, self.kv_heads, self.seqlen_k)
        draw = Draw(gen, q_shape, (*kv_shape, spec.d_qk), (*kv_shape, spec.d_v), scale_of(spec))
        drawn = DISTRIBUTIONS[self.distribution](draw)
        inputs = self.inputs(spec, device)
        dtype = DTYPES[self.dtype]
        q, k, v = (x.clamp(-LARGEST, LARGEST).to(dtype).to(device) for x in drawn)
        if self.poison:
            k, v = self._poisoned(spec, k, v, inputs)
        q, k, v = (LAYOUTS[name](x) for name, x in zip(self.layouts, (q, k, v), strict=True))
        return q, k, v, inputs

    def inputs(self, spec: AttentionSpec, device: str | torch.device = "cpu") -> dict[str, Tensor]:
        """The spec's inputs by name; they do not depend on the distribution."""
        gen = torch.Generator().manual_seed(self.seed + 1)
        return {name: self._input(spec, name, gen, device) for name in spec.inputs}

    def upstream(
        self, spec: AttentionSpec, device: str | torch.device = "cpu"
    ) -> tuple[Tensor | None, Tensor | None]:
        """The gradients that arrive at ``out`` and at ``lse``; None where nothing depends on it, or
        where there is no ``lse``."""
        gen = torch.Generator().manual_seed(self.seed + 2)
        rows = (self.batch, self.heads, self.seqlen_q)
        dout = torch.randn((*rows, spec.d_v), generator=gen).to(DTYPES[self.dtype]).to(device)
        dlse = torch.randn(rows, generator=gen).to(device)
        if self.seed % 3 == 0:
            dlse = dlse.mT.contiguous().mT
        through = self.through if "lse" in WEIGHTS[spec.row].left else "out"
        return (
            None if through == "lse" else ARRIVING[self.dout](dout),
            None if through == "out" else dlse,
        )

    def seed_of(self, spec: AttentionSpec) -> int | None:
        """Dropout's seed; None for a spec without dropout."""
        return self.dropout if spec.dropout else None

    def _input(
        self, spec: AttentionSpec, name: str, gen: torch.Generator, device: str | torch.device
    ) -> Tensor:
        declared = spec.inputs[name]
        shape = [n if isinstance(n, int) else self.sizes()[n] for n in declared.shape]
        full = list(shape)
        if self.stride0 and shape:
            axis = self.seed % len(shape)
            shape[axis] = min(shape[axis], 1)
        if declared.dtype == "float":
            wide = self.seed % 2 or self.dtype in ("fp32", "fp64")
            x = (torch.randn(shape, generator=gen) / 2).to(torch.float32 if wide else DTYPES[self.dtype])
            if self.large and name == added_input(spec):
                x = large(x, self.seed)
        elif declared.dtype == "bool":
            x = torch.rand(shape, generator=gen) < 0.7
        else:
            low, high, base = self._int_range(spec, name)
            x = torch.randint(low, high, shape, generator=gen)
            if base:  # not all of them: what is far apart is compared too
                moved = base - x.abs() if base > 0 else base + x.abs()
                x = torch.where(torch.rand(shape, generator=gen) < 0.8, moved, x)
            x = x.to(INTS[self.seed // 2 % 2])
        return x.to(device).expand(full)

    def _int_range(self, spec: AttentionSpec, name: str) -> tuple[int, int, int]:
        """Half-open, and what it counts from: valid where it indexes another input, few values where it is
        compared for equality (documents), else a length, some of them past the ends."""
        exprs = [e for e in (spec.score_expr, spec.mask_expr) if e is not None]
        limit: list[int] = []
        for outer in (r for e in exprs for r in reads(e)):
            for position, index in enumerate(outer.index):
                if any(isinstance(n, Read) and n.name == name for n in walk(index)):
                    n = spec.inputs[outer.name].shape[position]
                    limit.append(n if isinstance(n, int) else self.sizes()[n])
        if limit:
            return 0, max(min(limit), 1), 0
        base = BASES[self.seed // 4 % len(BASES)]
        if any(_compares(n, name) for e in exprs for n in walk(e)):
            return 0, 3, base
        return -1, self.seqlen_k + 2, base

    def _poisoned(
        self, spec: AttentionSpec, k: Tensor, v: Tensor, inputs: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        if spec.mask_expr is None or 0 in (self.batch, self.heads, self.seqlen_q, self.seqlen_k):
            return k, v
        group = self.heads // self.kv_heads
        s = torch.zeros(self.batch, self.heads, self.seqlen_q, self.seqlen_k, device=k.device)
        pairs = Pairs(s, group, inputs, s.dtype)
        inside = pairs.mask(spec.mask_expr).any(2)  # (B, Hq, Nk)
        outside = ~inside.view(self.batch, self.kv_heads, group, -1).any(2)[..., None]
        bad = torch.tensor([torch.nan, torch.inf, -torch.inf], dtype=k.dtype, device=k.device)
        bad = bad[torch.arange(self.seqlen_k, device=k.device) % 3][:, None]
        # What all entries of the batch share is hidden where it is from each.
        shared = outside.all(0, keepdim=True)
        of_k, of_v = (shared if layout == "broadcast" else outside for layout in self.layouts[1:])
        return torch.where(of_k, bad, k), torch.where(of_v, bad, v)


def added_input(spec: AttentionSpec) -> str | None:
    """A float input that is read once, as a term of the score or of the sink: two large terms may meet in an
    infinity, where fp64 has none, and a large factor makes anything of ``s``."""
    exprs = [e for e in (spec.score_expr, spec.sink_expr) if e is not None]
    everywhere = [r.name for e in exprs for r in reads(e)]
    terms = [r.name for e in exprs for r in _terms(e) if r.type == "float" and everywhere.count(r.name) == 1]
    return terms[0] if terms else None


def _terms(e: Expr) -> list[Read]:
    if isinstance(e, Read):
        return [e]
    if not isinstance(e, Call) or e.op not in ("add", "sub", "neg", "where"):
        return []
    return [r for a in e.args[1 if e.op == "where" else 0 :] for r in _terms(a)]


def _compares(e: Expr, name: str) -> bool:
    return (
        isinstance(e, Call)
        and e.op in ("eq", "ne")
        and any(isinstance(a, Read) and a.name == name for a in e.args)
    )
