"""A mask of documents, as people first write it: the message names forms that work, which is tested by doing
what it says."""

from __future__ import annotations

import re

import pytest

from flashgen.errors import SpecError
from flashgen.spec import AttentionSpec, load_text

MASKS = ("causal & (doc[b, q] == doc[b, k])", "(doc[b, k] == doc[b, q]) & (k < 9)")
FIRST = [(mask, length) for mask in MASKS for length in ("seqlen_k", "seqlen_q")]


def made(mask: str, *inputs: str) -> AttentionSpec:
    return load_text("\n".join(["name: documents", "head_dim: 64", f"mask: {mask}", "inputs:", *inputs]))


def doc(length: str) -> str:
    return f"  doc: {{shape: [batch, {length}], dtype: int}}"


def refused(mask: str, length: str) -> str:
    with pytest.raises(SpecError) as caught:
        made(mask, doc(length))
    ((_, said),) = caught.value.problems
    return said


@pytest.mark.parametrize(("mask", "length"), FIRST)
def test_the_written_form_works(mask: str, length: str) -> None:
    said = refused(mask, length)
    (form,) = re.findall(r"write `(doc\[.*?\])`", said)
    length = "seqlen_k" if "make the dimension seqlen_k" in said else length
    spec = made(mask.replace("doc[b, q]", form), doc(length))
    assert "qpos" in (spec.mask or "")


@pytest.mark.parametrize(("mask", "length"), FIRST)
def test_so_do_two_inputs(mask: str, length: str) -> None:
    said = refused(mask, length)
    declared = re.findall(r"`(doc_[qk]: \{.*?\})`", said)
    spec = made(re.sub(r"doc\[b, ([qk])\]", r"doc_\1[b, \1]", mask), *(f"  {text}" for text in declared))
    assert list(spec.inputs) == ["doc_q", "doc_k"]


def test_a_single_read_may_also_be_by_the_other_index() -> None:
    says = "write `doc[b, qpos]` for the query's own position, use `k` there, or make the dimension seqlen_q"
    assert says in refused("doc[b, q] == 0", "seqlen_k")
    assert "use `q` there, or make the dimension seqlen_k" in refused("doc[b, k] == 0", "seqlen_q")
