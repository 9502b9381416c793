"""Which reads of a learned input have a gradient that kernels can sum over the pairs.

A sum along rows, along columns or at every pair is possible. A read at a computed place is summed
entry by entry, which wants one such index, into a dimension of few entries.
"""

from __future__ import annotations

from collections.abc import Sequence

from .nodes import Expr, Read, Var, variables, walk
from .text import to_text

#: The largest table that is summed by going through its entries.
MOST_ENTRIES = 256
_AXIS = {"q": "q", "qpos": "q", "k": "k"}


def unsummable(read: Read, sizes: Sequence[int | None]) -> str | None:
    """Why the gradient of ``read`` cannot be summed, or None; ``sizes``: those dims that are numbers."""
    through = next((n for e in read.index for n in walk(e) if isinstance(n, Read)), None)
    if through is not None:
        return (
            f"the gradient of `{to_text(read)}` cannot be summed: its place is read from `{through.name}`, "
            f"and places are computed from b, h, hkv, q, k and lengths alone; {_gathered(read)}"
        )
    axes = [_axes(e) for e in read.index]
    if len(set().union(*axes)) < 2:
        return None
    computed = [i for i, e in enumerate(read.index) if axes[i] and not _plain(e)]
    if not computed:
        return None
    if len(computed) == 1 and all(not a for i, a in enumerate(axes) if i not in computed):
        size = sizes[computed[0]]
        if size is not None and size <= MOST_ENTRIES:
            return None
    return (
        f"the gradient of `{to_text(read)}` cannot be summed: of its indices one may be computed from q and "
        f"k, in a dimension of at most {MOST_ENTRIES} entries, such as table[h, t5_bucket(k - qpos)]; "
        f"{_gathered(read)}"
    )


def _gathered(read: Read) -> str:
    """What works where a table does not: torch gathers, and its autograd scatters the gradient back."""
    found = {v for e in read.index for v in variables(e)}
    lead = {"b": "batch", "h": "heads", "hkv": "kv_heads"}
    names = [v for v in lead if v in found]
    shape = ", ".join([*(lead[v] for v in names), "seqlen_q", "seqlen_k"])
    place = ", ".join([*names, "q", "k"])
    return (
        f"pass what is read of it, gathered with torch, as `inputs: {{{read.name}: {{shape: [{shape}], "
        f"grad: true}}}}` and read `{read.name}[{place}]`"
    )


def _axes(e: Expr) -> set[str]:
    return {_AXIS[v] for v in variables(e) & _AXIS.keys()}


def _plain(e: Expr) -> bool:
    return isinstance(e, Var) and e.name in ("q", "k")
