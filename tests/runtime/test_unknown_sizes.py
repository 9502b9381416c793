"""Calls whose sizes depend on data: compiled and exported whole, and right for none, one and many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations

import pytest
import torch
from functorch.compile import make_boxed_compiler
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd

import flashgen
from flashgen.runtime.layout import dim_order

from .specs import biased, inputs_of_biased, plain, qkv

KEPT = [[1, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]]


@pytest.fixture(autouse=True)
def _sizes_by_data() -> Iterator[None]:
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True, capture_scalar_outputs=True):
        yield
    torch._dynamo.reset()


class Kept(torch.nn.Module):
    """The entries of a batch that ``keep`` keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = flashgen.compile(biased())

    def forward(self, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        inputs = {**inputs, "lengths": inputs["lengths"][keep]}
        out, lse = self.attn(q[keep], k[keep], v[keep], return_lse=True, **inputs)
        return out * lse[..., None].cos()


class Rearranged(torch.nn.Module):
    """q of a layout with seqlen, then batch, outermost; keys chosen by a mask of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = flashgen.compile(plain())

    def forward(self, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        rows = q.permute(2, 0, 1, 3).contiguous()[:, keep].permute(1, 2, 0, 3)
        read = torch.arange(k.shape[2]) % 2 == keep[0].long()
        k, v = k[keep.logical_not().logical_not()], v[keep.clone()]  # equal sizes, which nothing says
        return self.attn(rows, k[:, :, read], v[:, :, read, :16]).permute(2, 0, 1, 3).flatten(2)


class Shortened(torch.nn.Module):
    """As many queries as are kept, and of as many heads."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = flashgen.compile(plain())

    def forward(self, q: Tensor, k: Tensor, v: Tensor, keep: Tensor, inputs: dict[str, Tensor]) -> Tensor:
        return self.attn(q[:, keep, : keep.sum().item()], k[:, :1], v[:, :1, :, :16])


def tensors(keep: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Tensor]]:
    q, k, v = (t.double() for t in qkv(b=4, dv=24))
    return q, k, v, torch.tensor(keep, dtype=torch.bool), inputs_of_biased(q, k)


@pytest.mark.parametrize("layer,strict", [(Kept, True), (Rearranged, False), (Shortened, True)])
def test_exports(layer: type[torch.nn.Module], strict: bool) -> None:
    exported = torch.export.export(layer(), tensors(KEPT[0]), strict=strict).module()
    for keep in KEPT:
        torch.testing.assert_close(exported(*tensors(keep)), layer()(*tensors(keep)), atol=0, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("layer,dynamic", [(Kept, True), (Rearranged, None), (Shortened, None)])
def test_compiles_whole_with_gradients(layer: type[torch.nn.Module], dynamic: bool | None) -> None:
    module, graphs = layer(), []

    def counted(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    boxed = make_boxed_compiler(counted)
    backend = aot_autograd(fw_compiler=boxed, bw_compiler=boxed)
    whole = torch.compile(module, fullgraph=True, dynamic=dynamic, backend=backend)

    def of(f: Callable[..., Tensor], keep: list[int]) -> list[Tensor]:
        q, k, v, kept, inputs = tensors(keep)
        given = [t.requires_grad_() for t in (q, k, v)]
        out = f(*given, kept, inputs)
        return [out.detach(), *torch.autograd.grad(out.sin().sum(), given)]

    for keep in KEPT:
        for found, want in zip(of(whole, keep), of(module, keep), strict=True):
            torch.testing.assert_close(found, want, atol=1e-12, rtol=1e-12)
    assert len(graphs) == 2, "a forward and a backward for every number that is kept"


def test_sizes_that_are_equal_by_chance_are_checked() -> None:
    attn = flashgen.compile(plain())

    def f(q: Tensor, k: Tensor, v: Tensor, keep: Tensor, other: Tensor) -> Tensor:
        return attn(q[keep], k[other], v[other])

    whole = torch.compile(f, fullgraph=True, backend="aot_eager")
    (q, k, v), keep = qkv(b=4), torch.tensor([True, False, True, True])
    assert torch.equal(whole(q, k, v, keep, keep.flip(0)), f(q, k, v, keep, keep.flip(0)))
    with pytest.raises(RuntimeError, match=r"Eq\(u|u\d == u|=="):
        whole(q, k, v, keep, ~keep)


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
@pytest.mark.parametrize("ones", [(), (0,), (1,), (2,), (0, 2)], ids=str)
def test_the_order_of_dims_asks_no_size(order: tuple[int, int, int], ones: tuple[int, ...]) -> None:
    sizes = [1 if d in ones else 3 + d for d in range(3)]
    dense = torch.empty([sizes[d] for d in order] + [16]).permute(*(order.index(d) for d in range(3)), 3)
    found = dim_order(dense.stride())
    assert [d for d in found if d not in ones] == [d for d in order if d not in ones]


@pytest.mark.parametrize("sizes", [(1, 1, 0)], ids=str)
def test_dynamic_sizes_may_be_none_and_one(sizes: tuple[int, int, int]) -> None:
    attn = flashgen.compile(plain())
    whole = torch.compile(lambda *t: attn(*t), fullgraph=True, dynamic=True, backend="aot_eager")
    for b, nq, nk in (sizes, (3, 7, 8)):
        given = [t.requires_grad_() for t in qkv(b=b, nq=nq, nk=nk)]
        found, want = (torch.autograd.grad(f(*given).sum(), given) for f in (whole, attn))
        for a, b in zip(found, want, strict=True):
            torch.testing.assert_close(a, b)
