"""The interpreter's values as an expression over some axes needs them: broadcast by the names of axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from flashgen.ir.program import Tile


class Aligned(Mapping[str, Any]):
    """``env`` with every tile's axes moved to where ``axes`` wants them, size 1 where it has none."""

    def __init__(self, env: Mapping[str, Any], tiles: Mapping[str, Tile], axes: tuple[str, ...]) -> None:
        self.env, self.tiles, self.axes = env, tiles, axes

    def __getitem__(self, name: str) -> Any:
        value = self.env[name]
        if not isinstance(value, torch.Tensor):
            return value
        own = self.tiles[name].axes if name in self.tiles else ()
        if own == self.axes:
            return value
        order = [a for a in self.axes if a in own]
        if list(own) != order:
            value = value.permute(0, 1, *(2 + own.index(a) for a in order))
        shape = iter(value.shape[2:])
        return value.reshape(*value.shape[:2], *(next(shape) if a in own else 1 for a in self.axes))

    def __iter__(self) -> Iterator[str]:
        return iter(self.env)

    def __len__(self) -> int:
        return len(self.env)
