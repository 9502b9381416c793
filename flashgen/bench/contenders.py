"""Who is timed: our kernel and its peers, each as a call without arguments on the same tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

import flashgen
from flashgen.expr.nodes import Expr, Read, Var, variables, walk
from flashgen.spec.model import AttentionSpec
from flashgen.verify.oracle import scale_of

from . import flexmods
from .cases import Case, Shape
from .clock import Run

OURS = "flashgen"
PEERS = ("flex", "cudnn", "flash")
#: What attention is without any of them: S and P in memory. Timed where a case names it.
STANDARD = "standard"
#: Our forward with the other form of the backward (``reduceadd``).
REDUCE_ADD = "reduce-add"


@dataclass(frozen=True)
class Data:
    """The tensors of one call."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    inputs: dict[str, Any]


def draw(spec: AttentionSpec, shape: Shape, device: str, dtype: torch.dtype, seed: int) -> Data:
    """Fresh normal q, k, v, and inputs: floats in [0, 0.1), integers in [0, N], booleans mostly true."""
    g = torch.Generator(device=device).manual_seed(seed)

    def normal(heads: int, d: int) -> torch.Tensor:
        return torch.randn(shape.B, heads, shape.N, d, generator=g, device=device).to(dtype)

    sizes = {
        "batch": shape.B,
        "heads": shape.Hq,
        "kv_heads": shape.Hkv,
        "seqlen_q": shape.N,
        "seqlen_k": shape.N,
    }
    inputs = {}
    for name, given in spec.inputs.items():
        dims = [sizes[d] if isinstance(d, str) else d for d in given.shape]
        x = torch.rand(dims, generator=g, device=device)
        inputs[name] = {"float": 0.1 * x, "int": (x * (shape.N + 1)).int(), "bool": x < 0.9}[given.dtype]
    return Data(
        normal(shape.Hq, spec.d_qk), normal(shape.Hkv, spec.d_qk), normal(shape.Hkv, spec.d_v), inputs
    )


def ours(spec: AttentionSpec, data: Data, seed: int | None = None) -> Run:
    """flashgen's call, through the public interface; without a ``seed`` each call draws dropout's."""
    attention = flashgen.compile(spec)
    return lambda: attention(data.q, data.k, data.v, return_lse=False, seed=seed, **data.inputs)


def ours_with_lse(
    spec: AttentionSpec, data: Data, seed: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """``out`` and ``lse`` of flashgen's call."""
    attention = flashgen.compile(spec)
    out, lse = attention(data.q, data.k, data.v, return_lse=True, seed=seed, **data.inputs)
    return out, lse


def sdpa_form(spec: AttentionSpec) -> dict[str, Any] | None:
    """The arguments by which SDPA computes this spec without a mask tensor; None where it cannot."""
    bare = spec.score_expr == Var("s", "float") and spec.row == "softmax"
    if not bare or spec.inputs or spec.sink_expr is not None:
        return None
    if spec.mask_expr is None:
        return {"is_causal": False}
    lower_triangle = spec_mask("k <= q", spec), spec_mask("k <= qpos", spec)
    return {"is_causal": True} if spec.mask_expr in lower_triangle else None


def spec_mask(mask: str, spec: AttentionSpec) -> Expr | None:
    """The typed expression of ``mask`` (queries and keys have the same length here)."""
    return AttentionSpec(name="probe", head_dim=spec.d_qk, mask=mask).mask_expr


def sdpa(kind: str, spec: AttentionSpec, data: Data) -> Run | None:
    """One backend of ``scaled_dot_product_attention``, or None where it cannot express the spec.

    On CPU tensors, which dry runs have, its only backend with gradients and dropout stands in.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    form = sdpa_form(spec)
    if form is None:
        return None
    backend = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}[kind]
    q, k, v = data.q, data.k, data.v
    if not q.is_cuda:
        backend = SDPBackend.MATH
    form |= {"dropout_p": spec.dropout, "scale": spec.scale, "enable_gqa": q.shape[1] != k.shape[1]}

    def run() -> torch.Tensor:
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v, **form)

    return run


def standard(spec: AttentionSpec, data: Data) -> Run | None:
    """Standard attention, one PyTorch call after the other; None where SDPA cannot express the spec."""
    form = sdpa_form(spec)
    if form is None or data.q.shape[1] != data.k.shape[1]:
        return None
    q, k, v = data.q, data.k, data.v
    hidden = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).triu(1)

    def run() -> torch.Tensor:
        s = q @ k.mT * scale_of(spec)
        if form["is_causal"]:
            s = s.masked_fill(hidden, -torch.inf)
        p = F.dropout(torch.softmax(s, dim=-1), spec.dropout)
        return p @ v

    return run


def flex(spec: AttentionSpec, data: Data, compiled: bool = True) -> Run:
    """``flex_attention``, compiled, with the block mask built beforehand (its time is not counted)."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    q, k, v = data.q, data.k, data.v
    sizes = {"Nq": q.shape[2], "Nk": k.shape[2], "group": q.shape[1] // k.shape[1]}
    score, mask = spec.score_expr, spec.mask_expr
    call: Callable[..., Any] = flex_attention
    if compiled:
        torch._dynamo.reset()  # a limit of recompiled shapes would fall back to eager silently
        call = torch.compile(flex_attention, dynamic=False)
    options: dict[str, Any] = {"scale": spec.scale, "enable_gqa": sizes["group"] != 1}
    if score != Var("s", "float"):
        options["score_mod"] = flexmods.score_mod(score, data.inputs, sizes)
    if mask is not None:
        per_head = bool(variables(mask) & {"b", "h", "hkv"}) or any(isinstance(e, Read) for e in walk(mask))
        b, h = (q.shape[0], q.shape[1]) if per_head else (None, None)
        mod = flexmods.mask_mod(mask, data.inputs, sizes)
        options["block_mask"] = create_block_mask(mod, b, h, sizes["Nq"], sizes["Nk"], device=q.device.type)
    return lambda: call(q, k, v, **options)


def reduce_add(spec: AttentionSpec, data: Data) -> Run | None:
    """Our results, whose backward is one kernel; None where that is not written."""
    form, (*_, length, d) = sdpa_form(spec), data.q.shape
    if form is None or not data.q.is_cuda or data.q.shape != data.k.shape or length % 128:
        return None
    from .reduceadd import TILINGS, ReduceAdd

    if d not in TILINGS or spec.dropout:
        return None
    q, k, v = (x.detach() for x in (data.q, data.k, data.v))
    out, lse = ours_with_lse(spec, Data(q, k, v, {}))
    return lambda: ReduceAdd.apply(  # type: ignore[no-untyped-call]
        data.q, data.k, data.v, out, lse, form["is_causal"]
    )


def peer(name: str, spec: AttentionSpec, data: Data) -> Run | None:
    """The peer ``name`` on ``data``; None where it cannot express the spec."""
    if name == "flex":
        other = spec.sink_expr is not None or spec.row != "softmax"
        if other or (data.q.requires_grad and not data.q.is_cuda):
            return None  # it has no sinks and softmax alone, and no backward on CPUs
        return flex(spec, data, compiled=data.q.is_cuda)
    if name == STANDARD:
        return standard(spec, data)
    if name == REDUCE_ADD:
        return reduce_add(spec, data)
    return sdpa(name, spec, data)


def assemble(case: Case, data: Data, peers: Iterable[str]) -> tuple[dict[str, Run], dict[str, str]]:
    """Every contender that runs, ours first, and why each other one does not."""
    runs, missing = {OURS: ours(case.spec, data)}, dict[str, str]()
    for name in peers:
        add(runs, missing, name, data, partial(peer, name, case.spec, data))
    return runs, missing


def add(
    runs: dict[str, Run], missing: dict[str, str], name: str, data: Data, make: Callable[[], Run | None]
) -> None:
    """Make a peer's call and try it; it joins ``runs``, or ``missing`` with the reason."""
    try:
        run = make()
        if run is None:
            missing[name] = "cannot express this spec here"
            return
        run()
        if data.q.is_cuda:
            torch.cuda.synchronize()
        runs[name] = run
    except Exception as e:  # a peer's failure is a fact to report, not ours to raise
        missing[name] = f"{type(e).__name__}: {e}".splitlines()[0][:200]
