"""What ``flashgen check`` says of a mask: the tiles that are visited, and its parts without bounds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from flashgen.explain.visited import Visited, visited
from flashgen.expr.evaluate import evaluate_torch
from flashgen.expr.text import to_text
from flashgen.ir.attention import lower
from flashgen.spec.model import AttentionSpec
from flashgen.verify.specs import specs

LENGTH, SIDE = 1000, 128
ROWS = {"shape": ["batch", "seqlen_k"], "dtype": "int"}
SIZES = {"shape": ["batch"], "dtype": "int"}


def of(mask: str, length: int = LENGTH, **inputs: object) -> Visited:
    spec = AttentionSpec(name="masked", head_dim=64, mask=mask, inputs=inputs)
    assert spec.mask_expr is not None
    return visited(lower(spec), spec.mask_expr, length)


@pytest.mark.parametrize("mask", ["causal", "window(200, 100)", "chunked(256)", "(k < 10) | window(7, 0)"])
def test_the_count_is_that_of_tiles_with_a_visible_pair(mask: str) -> None:
    spec = AttentionSpec(name="masked", head_dim=64, mask=mask)
    q, k = torch.arange(LENGTH)[:, None], torch.arange(LENGTH)
    values: dict[str, torch.Tensor | int] = {"q": q, "k": k, "qpos": q, "Nq": LENGTH, "Nk": LENGTH}
    assert spec.mask_expr is not None
    seen = evaluate_torch(spec.mask_expr, values, lambda *_: 0, torch.float64)
    assert isinstance(seen, torch.Tensor)
    tiles = [[x.any().item() for x in row.split(SIDE, 1)] for row in seen.split(SIDE)]
    found = of(mask)
    assert (found.visited, found.tiles) == (sum(map(sum, tiles)), 64)
    assert found.free == ()
    assert found.inputs == ()


def test_documents_give_no_bounds() -> None:
    found = of("causal & (doc[b, qpos] == doc[b, k])", 4096, doc=ROWS)
    assert (found.visited, found.full, found.tiles) == (528, 0, 1024)
    assert [to_text(p) for p in found.bounding] == ["k <= qpos"]
    assert [to_text(p) for p in found.free] == ["doc[b, qpos] == doc[b, k]"]


def test_inputs_in_bounds_count_as_what_leaves_most() -> None:
    found = of("(k < size[b]) & (k >= start[b])", size=SIZES, start=SIZES)
    assert (found.visited, found.inputs) == (64, ("size", "start"))
    assert of("qpos - k <= size[b]", size=SIZES).visited == 64


def test_nothing_is_visited_where_nothing_is_seen() -> None:
    assert of("causal & (1 // -3 >= 0)").visited == 0


@settings(max_examples=30)
@given(specs())
def test_every_mask_has_a_count(spec: AttentionSpec) -> None:
    if spec.mask_expr is not None:
        found = visited(lower(spec), spec.mask_expr, LENGTH)
        assert 0 <= found.full <= found.visited <= found.tiles
