"""The fit: numbers of a target under which the time model comes nearest to what was measured.

A few numbers that no data sheet has are moved, by factors, until a robust mean of log(predicted / measured)
is least: squares of small errors, absolute values of large ones (Huber). The search is Hooke and Jeeves'
(1961): steps along each number, then once more along their sum, and smaller steps where none helps. The time
model's maxima make kinks, so there are no derivatives; and nothing is random.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from flashgen.errors import PlanError
from flashgen.plan.model.cost import kernel_cost
from flashgen.plan.resources import tiling
from flashgen.targets.target import GPU_NUMBERS, Target

from .measurements import Measurements, Row, facts_of

#: The numbers that are fitted where none are named.
FITTED = ("clock", "l2_rate", "latency", "launch")
#: Shares that are measured themselves, and cannot be above 1.
SHARES = ("sustained", "hbm_sustained")
#: A number moves at most by this factor, either way; the clock, which is known to be near, by its own.
FARTHEST = 20.0
FARTHEST_OF = {"clock": 1.6}
#: Errors of the logarithm up to this count as squares.
SMALL = 0.1
#: The first step as the logarithm of a factor, how much smaller each is than the one before, and how many.
FIRST_STEP, SMALLER, STEPS = 0.1, 0.5, 8
#: Fewer measurements than this for each number say little.
ROWS_A_NUMBER = 4


#: Says what is under way, and how much of it is done.
Tell: TypeAlias = Callable[[str, int, int], object]


def _quiet(what: str, done: int, of: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Error:
    """How far predictions are off: geometric mean of predicted / measured, root mean square of its
    logarithm, and the worst ratio with its case."""

    mean: float
    rms: float
    worst: float
    case: str


@dataclass(frozen=True)
class Fit:
    """The target before and after, and the errors of both on the rows fitted to."""

    start: Target
    target: Target
    names: tuple[str, ...]
    before: Error
    after: Error


def logs(target: Target, rows: Iterable[Row]) -> list[float]:
    """log(predicted / measured) of every row, with the compiler's sizes and not the planner's."""
    out = []
    for r in rows:
        t = tiling(facts_of(r.mask, r.head_dim), r.plan, r.dtype, target)
        c = r.compiled
        out.append(math.log(kernel_cost(t, r.work, c).us / r.us))
    return out


def error(target: Target, rows: Sequence[Row]) -> Error:
    """The errors of a target's predictions."""
    off = logs(target, rows)
    at = max(range(len(off)), key=lambda i: abs(off[i]))
    mean, square = (sum(x**n for x in off) / len(off) for n in (1, 2))
    return Error(math.exp(mean), math.sqrt(square), math.exp(off[at]), rows[at].label)


def robust(off: Sequence[float]) -> float:
    """Huber's mean of errors."""
    return sum(x * x if abs(x) <= SMALL else SMALL * (2 * abs(x) - SMALL) for x in off) / len(off)


def with_values(
    target: Target, values: Mapping[str, float], source: Mapping[str, str] | None = None
) -> Target:
    """``target`` with other numbers, each with the source named for it (else its own)."""
    numbers = dict(target.numbers)
    for name, value in values.items():
        cited = (source or {}).get(name, numbers[name].source)
        numbers[name] = numbers[name].model_copy(update={"value": value, "source": cited})
    return target.model_copy(update={"numbers": numbers})


def descend(
    loss: Callable[[Sequence[float]], float], farthest: Sequence[float], tell: Tell = _quiet
) -> list[float]:
    """The place near 0 with the least ``loss`` in a box of half sides ``farthest``."""
    count = len(farthest)

    def inside(x: Sequence[float]) -> list[float]:
        return [min(max(v, -f), f) for v, f in zip(x, farthest, strict=True)]

    def explored(x: list[float], best: float, step: float) -> tuple[list[float], float]:
        for i in range(count):
            for move in (step, -step):
                tried = inside([*x[:i], x[i] + move, *x[i + 1 :]])
                if tried != x and (found := loss(tried)) < best:
                    x, best = tried, found
                    break
        return x, best

    x, step, done = [0.0] * count, FIRST_STEP, 0
    best = loss(x)
    while done < STEPS:
        y, found = explored(x, best, step)
        if found >= best:
            step *= SMALLER
            done += 1
            tell("fitting", done, STEPS)
            continue
        while found < best:  # onwards in the same direction, as long as that helps
            ahead = inside([2 * b - a for a, b in zip(x, y, strict=True)])
            x, best = y, found
            y, found = explored(ahead, loss(ahead), step)
    return x


def check_names(target: Target, names: Sequence[str]) -> None:
    """Raises ``PlanError`` for what is no number of a GPU."""
    unknown = [n for n in names if n not in GPU_NUMBERS or n not in target.numbers]
    if unknown or not names:
        raise PlanError(f"{', '.join(unknown) or 'nothing'} cannot be fitted; it can be any of "
                        f"{', '.join(GPU_NUMBERS)}")  # fmt: skip


def shares(start: Target, found: Measurements) -> dict[str, float]:
    """The shares of peak rates that copy and matrix product sustained, where they were measured."""
    dtype = found.rows[0].dtype
    reached = {
        "sustained": found.device.matmul_tflop_per_s / start.number(f"{dtype}_rate"),
        "hbm_sustained": found.device.copy_gb_per_s / start.number("hbm_rate"),
    }
    return {name: min(round(x, 4), 1.0) for name, x in reached.items() if x}


def fit(start: Target, found: Measurements, names: Sequence[str] = FITTED, tell: Tell = _quiet) -> Fit:
    """``start`` with the numbers ``names`` fitted to what was measured, and its shares replaced by those of
    the copy and the matrix product (where they are not among the fitted). Raises ``PlanError``."""
    check_names(start, names)
    rows = found.rows
    if len(rows) < ROWS_A_NUMBER * len(names):
        raise PlanError(f"{len(rows)} measurements are too few to fit {', '.join(names)} to")
    base = with_values(start, {n: x for n, x in shares(start, found).items() if n not in names})

    def at(x: Sequence[float]) -> Target:
        moved = {n: base.number(n) * math.exp(v) for n, v in zip(names, x, strict=True)}
        return with_values(base, {n: min(v, 1.0) if n in SHARES else v for n, v in moved.items()})

    farthest = [math.log(FARTHEST_OF.get(n, FARTHEST)) for n in names]
    fitted = at(descend(lambda x: robust(logs(at(x), rows)), farthest, tell))
    rounded = {n: float(f"{fitted.number(n):.4g}") for n in names}
    target = with_values(fitted, rounded)
    return Fit(start, target, tuple(names), error(start, rows), error(target, rows))
