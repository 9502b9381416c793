"""Tensors that do not fit: one error that names the argument, what it is and what would work."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import flashgen
from flashgen.errors import TensorError
from flashgen.runtime import op

from .specs import biased, inputs_of_biased, plain, qkv

Change = Callable[[dict[str, Tensor]], object]

WRONG: dict[str, tuple[Change, str]] = {
    "rank": (lambda t: t.update(q=t["q"][0]), r"q has 3 dims, shape \[4, 9, 16\]; expected 4"),
    "type": (lambda t: t.update(k=[1, 2]), "k is a list; expected a torch.Tensor"),  # type: ignore[arg-type]
    "dtype": (lambda t: t.update(q=t["q"].int()), "q is torch.int32; biased is declared for fp16, bf16"),
    "dtypes": (lambda t: t.update(k=t["k"].half()), "k is torch.float16 and q is torch.float32"),
    "head dim": (lambda t: t.update(q=t["q"][..., :8]), "q has head dim 8.* is for 16"),
    "head dim of v": (lambda t: t.update(v=t["v"][..., :16]), "v has head dim 16.* is for 24"),
    "last stride": (
        lambda t: t.update(k=t["k"].transpose(2, 3).contiguous().transpose(2, 3)),
        r"k has strides .*the last must be 1.*k\.contiguous\(\) would work",
    ),
    "heads": (lambda t: t.update(q=t["q"][:, :3]), "q has 3 heads and k 2; expected a multiple"),
    "no heads": (
        lambda t: t.update(k=t["k"][:, :0], v=t["v"][:, :0]),
        "q has 4 heads and k 0; expected a multiple",
    ),
    "heads of v": (lambda t: t.update(v=t["v"][:, :1]), "v has heads 1 and k 2"),
    "batch": (lambda t: t.update(k=t["k"][:1]), "k has batch 1 and q 2"),
    "lengths": (lambda t: t.update(v=t["v"][:, :, 1:]), "v has seqlen 12 and k 13"),
    "missing": (lambda t: t.pop("slopes"), r"slopes is missing.*slopes=<float tensor \[heads\]>"),
    "unknown": (lambda t: t.update(slope=t["slopes"]), "slope is not an input of biased.*slopes, bias"),
    "input's rank": (
        lambda t: t.update(bias=t["bias"][0]),
        r"bias has 2 dims, .* expected \[heads, seqlen_q, seqlen_k\], here \[4, 9, 13\]",
    ),
    "input's shape": (
        lambda t: t.update(bias=t["bias"][:, :1]),
        r"bias has shape \[4, 1, 13\].*dim 1 is 1, not 9. bias.expand\(4, 9, 13\) would work",
    ),
    "input's size": (lambda t: t.update(slopes=t["slopes"][:2]), r"slopes .*here \[4\]: dim 0 is 2, not 4"),
    "int input": (lambda t: t.update(lengths=t["lengths"].float()), "lengths is torch.float32; int inputs"),
    "float input": (lambda t: t.update(slopes=t["slopes"].int()), "slopes is torch.int32; float inputs"),
    "fp64 input": (
        lambda t: t.update(slopes=t["slopes"].double()),
        r"slopes is torch.float64; float inputs .*slopes\.float\(\) would work",
    ),
    "device": (lambda t: t.update(k=t["k"].to("meta")), r"k is on meta and q on cpu.*k\.to\(q\.device\)"),
    "input's device": (lambda t: t.update(bias=t["bias"].to("meta")), "bias is on meta and q on cpu"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_tensor_is_named(what: str) -> None:
    change, message = WRONG[what]
    q, k, v = qkv(dv=24)
    tensors = {"q": q, "k": k, "v": v, **inputs_of_biased(q, k)}
    change(tensors)
    with pytest.raises(TensorError) as caught:
        flashgen.compile(biased())(**tensors)
    assert re.search(message, str(caught.value)), caught.value
    assert "\n" not in str(caught.value)


def test_fixed_heads_are_checked() -> None:
    attn = flashgen.compile(plain(heads={"q": 8, "kv": 2}))
    with pytest.raises(TensorError, match="q has 4 heads and k 2; plain fixes 8 and 2"):
        attn(*qkv())


def test_only_declared_dtypes_are_taken() -> None:
    attn = flashgen.compile(plain(dtypes=["bf16"]))
    with pytest.raises(TensorError, match=r"q is torch\.float32; plain is declared for bf16"):
        attn(*qkv())


def test_the_op_checks_too() -> None:
    text = biased().canonical_json()
    with pytest.raises(TensorError, match=r"biased takes 6 tensors \['q', .*'lengths'\], got 3"):
        op.attention(*qkv(dv=24), [], text, None)
    q, k, v = qkv(dv=24)
    listed = list(inputs_of_biased(q, k).values())
    out, lse, rest = op.attention(q, k, v, listed, text, None)
    assert [t.shape for t in rest] == [lse.shape]
    for name, wrong in {"do": out[:1], "o": out[..., :8], "dlse": lse[0]}.items():
        given = {"do": out, "dlse": lse, "o": out, name: wrong}
        saved = (given["o"], lse, rest)
        with pytest.raises(TensorError, match=rf"{name} is .*expected torch.float32 of shape \[2, 4, 9"):
            op.attention_backward(given["do"], given["dlse"], q, k, v, listed, *saved, text, None)
    with pytest.raises(TensorError, match=r"lse is torch.float64 .*expected torch.float32"):
        op.attention_backward(out, None, q, k, v, listed, out, lse.double(), rest, text, None)
    with pytest.raises(TensorError, match=r"biased takes 10 tensors .*'lse_lo'\], got 9"):
        op.attention_backward(out, None, q, k, v, listed, out, lse, [], text, None)


@pytest.mark.parametrize("spec", ["", "{}", "[]", "not json", '{"name": "x"}'])
def test_the_op_refuses_what_is_no_spec(spec: str) -> None:
    with pytest.raises(flashgen.SpecError, match="canonical JSON"):
        op.attention(*qkv(), [], spec, None)


def test_the_op_builds_only_sound_specs() -> None:
    text = plain().canonical_json().replace("k <= qpos", "__import__('os')")
    with pytest.raises(flashgen.SpecError):
        op.attention(*qkv(), [], text, None)


def test_fp64_inputs_go_with_fp64_tensors() -> None:
    q, k, v = (t.double() for t in qkv(dv=24))
    inputs = {n: t.double() if t.is_floating_point() else t for n, t in inputs_of_biased(q, k).items()}
    assert flashgen.compile(biased())(q, k, v, **inputs).dtype == torch.float64


def test_only_declared_outputs_are_given() -> None:
    attn = flashgen.compile(plain(outputs=["out"]))
    attn(*qkv())
    with pytest.raises(TensorError, match="plain declares no lse"):
        attn(*qkv(), return_lse=True)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    (tmp_path / "huge.yaml").write_bytes(b"# \n" * 1_000_000)
    for name in ("latin.yaml", "huge.yaml", "missing.yaml", ""):
        with pytest.raises(flashgen.SpecError):
            flashgen.compile(tmp_path / name)


@pytest.mark.parametrize("given", [None, 3, 1.5, b"plain", {"name": "x"}, ["plain"], object], ids=repr)
def test_what_is_no_spec_is_refused(given: object) -> None:
    with pytest.raises(flashgen.SpecError, match="expected a spec's path, a gallery's name or an Attention"):
        flashgen.compile(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", ["a" * 5000, "a\0b", "x/" * 3000])
def test_what_is_no_path_is_refused(given: str) -> None:
    with pytest.raises(flashgen.SpecError, match="no such file") as caught:
        flashgen.compile(given)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["q", "k", "v", "bias"])
@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr", "to_mkldnn", "nested", "jagged"])
def test_only_strided_tensors_are_taken(name: str, layout: str) -> None:
    q, k, v = qkv(dv=24)
    tensors = {"q": q, "k": k, "v": v, **inputs_of_biased(q, k)}
    t = tensors[name]
    if layout in ("nested", "jagged"):
        kind = torch.strided if layout == "nested" else torch.jagged
        tensors[name] = torch.nested.nested_tensor([t[0], t[1]], layout=kind)
    else:
        tensors[name] = getattr(torch.ones_like(t), layout)()
    with pytest.raises(TensorError, match=rf"{name} .*expected a dense tensor"):
        flashgen.compile(biased())(**tensors)


@pytest.mark.parametrize("name", ["q", "v", "slopes"])
def test_a_tangent_is_refused_not_dropped(name: str) -> None:
    q, k, v = qkv(dv=24)
    tensors = {"q": q, "k": k, "v": v, **inputs_of_biased(q, k)}
    attn = flashgen.compile(biased())

    def f(t: Tensor) -> Tensor:
        return attn(**{**tensors, name: t})

    t = tensors[name]
    with pytest.raises(TensorError, match=f"{name} carries a tangent.*reverse-mode"):
        torch.func.jvp(f, (t,), (torch.ones_like(t),))
    with forward_ad.dual_level():
        f(t)  # no tangent is lost
        seen = {"slopes": r"inputs\[0\]"}.get(name, name)
        with pytest.raises(TensorError, match=f"{seen} carries a tangent"):
            f(forward_ad.make_dual(t, torch.ones_like(t)))
        listed = {**tensors, name: forward_ad.make_dual(t, torch.ones_like(t))}
        first, inputs = list(listed.values())[:3], list(listed.values())[3:]
        with pytest.raises(TensorError, match=f"{seen} carries a tangent"):
            op.attention(*first, inputs, biased().canonical_json(), None)
