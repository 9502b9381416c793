"""Head dims as pieces: 96 = 64 + 32, so S is two dots into one accumulator and O two accumulators.

Tile sides are powers of two of at least 16 (tensor-core operands), so a head dim is either cut into
pieces or padded; whichever costs less. A piece more costs its own loads, dots and accumulators.
"""

from __future__ import annotations

from dataclasses import dataclass

MIN_PIECE = 16
#: What one more piece costs, as a share of the whole: shorter dots and one more accumulator.
PIECE_COST = 0.08


@dataclass(frozen=True)
class Piece:
    """Columns ``start .. start + size`` of a head dim of ``total`` (padded where they pass it)."""

    name: str
    start: int
    size: int
    total: int

    @property
    def padded(self) -> bool:
        """Whether the piece reaches past the head dim, so that its columns need a guard."""
        return self.start + self.size > self.total


def pieces(d: int, letter: str) -> tuple[Piece, ...]:
    """The cheapest cut of a head dim ``d`` into power-of-two pieces, largest first."""
    best = min(_cuts(d), key=lambda cut: sum(cut) * (1 + PIECE_COST * (len(cut) - 1)))
    starts = [sum(best[:i]) for i in range(len(best))]
    return tuple(Piece(f"{letter}{i}", s, n, d) for i, (s, n) in enumerate(zip(starts, best, strict=True)))


def _cuts(d: int) -> list[list[int]]:
    """All ways to cover d: the largest powers of two that fit, the last one rounded up."""
    cuts: list[list[int]] = []
    taken: list[int] = []
    rest = d
    while rest > 0:
        up = max(MIN_PIECE, 1 << (rest - 1).bit_length())
        cuts.append([*taken, up])
        down = up // 2
        if down < MIN_PIECE or down >= rest:
            break
        taken.append(down)
        rest -= down
    return cuts
