"""How the interpreter takes slices of tensors and puts them back.

An index entry is a ``slice`` (a tile axis from a uniform start; it may pass the end where the guard says
so), an ``int``, or a tensor of numbers. Values have two leading dims (B, H), then tile axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class OutOfBounds(Exception):
    """A program accesses an element outside of its tensor: a bug in the schedule that made it."""


def _lead(entry: torch.Tensor) -> int | None:
    """Which leading dim a (B|1, H|1) index varies along; None when along both."""
    if entry.dim() != 2 or (entry.shape[0] > 1 and entry.shape[1] > 1):
        return None
    return 0 if entry.shape[0] > 1 else 1 if entry.shape[1] > 1 else -1


def _take(src: torch.Tensor, dim: int, index: torch.Tensor) -> torch.Tensor:
    """``index_select``, as a view where the numbers are consecutive."""
    flat = index.reshape(-1)
    first, n = int(flat[0]), flat.numel()
    if n == 1 or (int(flat[-1]) - first == n - 1 and bool((flat[1:] - flat[:-1] == 1).all())):
        return src.narrow(dim, first, n)
    return src.index_select(dim, flat)


def read_slice(
    src: torch.Tensor,
    where: Sequence[Any],
    names: Sequence[str | None],
    axes: tuple[str, ...],
    guard: Any,
    fill: float,
    check: bool,
) -> torch.Tensor | None:
    """A tile by slicing, (B|1, H|1, *axes); None when some index needs a gather.

    So does one outside of the tensor: its guard hides it, in some programs or in all.
    """
    lead: dict[int, int] = {}  # leading dim -> dim of src
    for d, w in enumerate(where):
        if isinstance(w, torch.Tensor):
            varies = _lead(w)
            if varies is None or w.numel() == 0 or (varies >= 0 and varies in lead):
                return None
            if not _inside(int(w.min()), int(w.max()), src.shape[d], guard):
                return None
            src = _take(src, d, w)
            if varies >= 0:
                lead[varies] = d
        elif isinstance(w, int):
            if not _inside(w, w, src.shape[d], guard):
                return None
            src = src.narrow(d, w, 1)
    tile_dims: dict[str, int] = {}
    short = False
    for d, (w, name) in enumerate(zip(where, names, strict=True)):
        if isinstance(w, slice):
            if name is None:
                return None
            n = max(0, min(w.stop, src.shape[d]) - w.start)
            short |= n < w.stop - w.start
            src = src.narrow(d, min(w.start, src.shape[d]), n)
            tile_dims[name] = d
    if set(tile_dims) != set(axes):
        return None
    order = [lead[i] for i in (0, 1) if i in lead] + [tile_dims[a] for a in axes]
    rest = [d for d in range(src.dim()) if d not in order]
    src = src.permute((*rest, *order)).reshape(
        *(src.shape[lead[i]] if i in lead else 1 for i in (0, 1)), *(src.shape[tile_dims[a]] for a in axes)
    )
    if short:
        sides = [next(w.stop - w.start for w, n in zip(where, names, strict=True) if n == a) for a in axes]
        padded = src.new_full((*src.shape[:2], *sides), fill)
        padded[tuple(slice(0, n) for n in src.shape)] = src
        if check:
            inside = torch.zeros(padded.shape, dtype=torch.bool)
            inside[tuple(slice(0, n) for n in src.shape)] = True
            _require(inside, guard)
        src = padded
    if guard is not None and not bool(torch.as_tensor(guard).all()):
        src = _filled(src, guard, fill)
    return src


def _inside(first: int, last: int, size: int, guard: Any) -> bool:
    """Whether indices lie in a dim of ``size``; outside without a guard is an error at once."""
    inside = first >= 0 and last < size
    if not inside and guard is None:
        raise OutOfBounds(f"an index in [{first}, {last}] leaves a dim of {size}")
    return inside


def _filled(tile: torch.Tensor, guard: Any, fill: float) -> torch.Tensor:
    return torch.where(torch.as_tensor(guard), tile, torch.tensor(fill, dtype=tile.dtype))


def gather(
    src: torch.Tensor,
    index: Sequence[torch.Tensor],
    guard: Any,
    fill: float,
    active: torch.Tensor | None,
    check: bool,
) -> torch.Tensor:
    """A tile by advanced indexing; ``index`` broadcasts to (B, H, *axes)."""
    shape = _broadcast(index)
    if any(n == 0 for n in src.shape):
        return src.new_full(shape, fill)
    if check:
        inside = torch.ones(shape, dtype=torch.bool)
        for i, n in zip(index, src.shape, strict=True):
            inside = inside & (i >= 0) & (i < n)
        runs = True if active is None else active.view(*active.shape, *[1] * (len(shape) - 2))
        _require(inside, runs if guard is None else guard & torch.as_tensor(runs))
    safe = [torch.clamp(i, 0, n - 1) for i, n in zip(index, src.shape, strict=True)]
    out = src[tuple(safe)].expand(shape)
    return out if guard is None else _filled(out, guard, fill)


def _broadcast(tensors: Sequence[torch.Tensor]) -> tuple[int, ...]:
    """The shape all of ``tensors`` (of one rank, or 0) broadcast to."""
    rank = max((t.dim() for t in tensors), default=0)
    sizes = [[n for t in tensors if t.dim() for n in (t.shape[d],) if n != 1] for d in range(rank)]
    return tuple(n[0] if n else 1 for n in sizes)


def _require(inside: torch.Tensor, wanted: Any) -> None:
    wanted = True if wanted is None else torch.as_tensor(wanted)
    if bool((~inside & wanted).any()):
        raise OutOfBounds("an access that its guard lets through leaves the tensor")


def cut(value: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """The first ``sizes`` elements along the tile axes of ``value``, dims of size 1 left alone."""
    for dim, n in enumerate(sizes, start=2):
        if value.shape[dim] > 1:
            value = value.narrow(dim, 0, n)
    return value


def write(dst: torch.Tensor, where: Sequence[Any], value: torch.Tensor, guard: Any, check: bool) -> None:
    """Stores (B, H, *axes), where the guard holds, at leading numbers and slices for the tile axes in order.

    A leading number is one for all programs, or a tensor of evenly spaced ones along B or along H.
    """
    lead: list[int] = []  # the leading dims of the value that the numbers vary along
    sizes: list[int] = []
    for d, w in enumerate(where):
        if isinstance(w, slice):
            n = max(0, min(w.stop, dst.shape[d]) - w.start)
            dst = dst.narrow(d, min(w.start, dst.shape[d]), n)
            sizes.append(n)
        elif isinstance(w, torch.Tensor) and w.numel() > 1:
            flat = w.reshape(-1)
            first, step = int(flat[0]), int(flat[1] - flat[0])
            at = [slice(None)] * d + [slice(first, int(flat[-1]) + 1, step)]
            dst = dst[tuple(at)]
            lead.append(0 if w.shape[0] > 1 else 1)
        else:
            dst = dst.narrow(d, int(w), 1)
            lead.append(-1)
    free = iter(i for i in (0, 1) if i not in lead)
    lead = [i if i >= 0 else next(free, -1) for i in lead]
    if lead == [0]:  # no head: the value has one
        dst = dst.unsqueeze(1)
    elif lead == [1]:
        dst = dst.unsqueeze(0)
    elif not lead:
        dst = dst[None, None]
    else:
        assert lead == [0, 1], "a store at numbers along B, then along H"
    if check and guard is not None:
        inside = torch.zeros(value.shape, dtype=torch.bool)
        cut(inside, sizes).fill_(True)
        _require(inside, guard)
    value = cut(value, sizes)
    if guard is not None:
        kept = cut(torch.as_tensor(guard), sizes)
        if not bool(kept.all()):
            value = torch.where(kept, value.to(dst.dtype), dst)
    dst.copy_(value.expand(dst.shape))


def scatter(
    dst: torch.Tensor, index: Sequence[torch.Tensor], value: torch.Tensor, wanted: torch.Tensor, check: bool
) -> None:
    """Stores (B, H, *axes) where ``wanted`` holds, each element at its own place; ``index`` broadcasts."""
    shape = wanted.shape
    places = [i.expand(shape)[wanted] for i in index]
    if check and any(bool(((p < 0) | (p >= n)).any()) for p, n in zip(places, dst.shape, strict=True)):
        raise OutOfBounds("a store that its guard lets through leaves the tensor")
    dst[tuple(places)] = value.expand(shape)[wanted].to(dst.dtype)


def tile_number(i: int, los: list[torch.Tensor], counts: list[torch.Tensor]) -> torch.Tensor:
    """The i-th tile of the ranges one after another."""
    number, before = los[0] + i, counts[0]
    for lo, count in zip(los[1:], counts[1:], strict=True):
        number = torch.where(torch.as_tensor(i < before), number, lo + (i - before))
        before = before + count
    return number
