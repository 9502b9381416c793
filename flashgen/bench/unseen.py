"""The unseen suite: what it costs that keys which no query sees may hold anything.

Each mask is timed beside the same one with a last query that sees every key: that is a proof that nothing
needs to be left out, and otherwise the same work. Tiles that are full have no such code at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch

import flashgen
from flashgen.spec.model import AttentionSpec, InputSpec, Symbol

from .cases import Shape
from .clock import Run, rounds
from .contenders import draw
from .report import Figure, Timing
from .suites import Session, empty_cache

QKV: TypeAlias = "tuple[torch.Tensor, torch.Tensor, torch.Tensor]"
Inputs: TypeAlias = "dict[str, Any]"

PROVED = "proved"
SHAPE, SMALL = Shape(1, 16, 16, 8192), Shape(1, 2, 2, 128)
#: How many tokens a document has.
DOCUMENT = 1500


@dataclass(frozen=True)
class Row:
    """A mask as ``{}`` in a frame, its input, and what that holds of rows q and keys k, columns and rows."""

    what: str
    frame: str
    part: str
    name: str
    shape: tuple[Symbol, ...]
    dtype: Literal["int", "bool"]
    values: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

    def spec(self, proved: bool) -> AttentionSpec:
        """The mask as it is, or with a last query that sees every key."""
        part = f"(({self.part}) | (q >= Nq - 1))" if proved else f"({self.part})"
        inputs = {self.name: InputSpec(shape=self.shape, dtype=self.dtype)}
        return AttentionSpec(name="unseen", head_dim=128, mask=self.frame.format(part), inputs=inputs)


ROWS = (
    Row("keys that are kept", "causal & {}", "keep[b, k]", "keep", ("batch", "seqlen_k"), "bool",
        lambda q, k: k[0] % 16 != 7),
    Row("documents", "causal & {}", "doc[b, k] == doc[b, qpos]", "doc", ("batch", "seqlen_k"), "int",
        lambda q, k: k[0] // DOCUMENT),
    Row("each row its last key", "{}", "k <= pos[b, q]", "pos", ("batch", "seqlen_q"), "int",
        lambda q, k: q[:, 0]),
    Row("a tree of tokens", "{}", "tree[b, q, k]", "tree", ("batch", "seqlen_q", "seqlen_k"), "bool",
        lambda q, k: k <= q),
)  # fmt: skip


def run(session: Session) -> None:
    """Forward, and forward with backward, of every row, or of those whose inputs were asked for."""
    shape = SMALL if session.device == "cpu" else SHAPE
    line = torch.arange(shape.N, device=session.device)
    for seed, row in enumerate(ROWS, 1):
        if session.specs and row.name not in session.specs:
            continue
        if session.spent():
            session.report.problems.append(f"out of time: unseen from {row.what} on")
            return
        values = row.values(line[:, None], line[None, :])
        given = {row.name: values[None].contiguous()}
        data = draw(row.spec(False).replace(mask=None, inputs={}), shape, session.device, session.dtype, seed)
        for what, call in (("forward", _forward), ("training", _training)):
            label = f"{row.what}, {what}, {shape}"
            session.say(f"unseen {label}")
            runs = {
                name: call(row.spec(proved), (data.q, data.k, data.v), given)
                for name, proved in (("flashgen", False), (PROVED, True))
            }
            results = [each() for each in runs.values()]
            if what == "forward" and not _alike(*results):
                session.report.problems.append(f"WRONG: unseen {label}: the two differ")
            ms = rounds(runs, session.rounds, session.device)
            session.report.timings += [Timing("unseen", label, name, t) for name, t in ms.items()]
            ratio = ms["flashgen"] / ms[PROVED]
            session.report.figures.append(Figure("unseen", label, "time / that with a proof", ratio, "x"))
            session.save()
        empty_cache(session)


def _alike(a: object, b: object) -> bool:
    """Whether two results agree but for the last query."""
    assert isinstance(a, torch.Tensor)
    assert isinstance(b, torch.Tensor)
    return torch.allclose(a[:, :, :-1].float(), b[:, :, :-1].float(), atol=1e-2)


def _forward(spec: AttentionSpec, qkv: QKV, given: Inputs) -> Run:
    attention = flashgen.compile(spec)
    return lambda: attention(*qkv, return_lse=False, **given)


def _training(spec: AttentionSpec, qkv: QKV, given: Inputs) -> Run:
    attention = flashgen.compile(spec)
    q, k, v = (x.detach().clone().requires_grad_() for x in qkv)
    dout = torch.ones_like(q)
    return lambda: torch.autograd.grad(attention(q, k, v, return_lse=False, **given), (q, k, v), dout)
