"""``verify``: hypothesis looks for a case where a backend and the oracle part, and shrinks it."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch

from flashgen.errors import CannotRun, PlanError
from flashgen.size import counted
from flashgen.spec.model import AttentionSpec

from .case import Case
from .check import Backend, check, check_gradients
from .oracle import oracle
from .run import PLANNED, Run, RunBackward, Tile

#: Triton's interpreter has no bf16; fp64 is for the CPU backend.
BACKEND_DTYPES: dict[str, tuple[str, ...]] = {
    "cpu": ("fp32", "fp16", "bf16", "fp64"),
    "triton-interpreted": ("fp32", "fp16"),
    "cuda": ("fp32", "fp16", "bf16"),
}
LONGEST = {"cpu": 300, "triton-interpreted": 129, "cuda": 1100}
#: Small tiles put many edges into short sequences; on a GPU each would be compiled.
TILES: dict[str, tuple[Tile, ...]] = {
    "cpu": (PLANNED, (32, 32), (64, 32), (16, 64), (128, 64)),
    "triton-interpreted": (PLANNED, (32, 32), (64, 32), (32, 64)),
    "cuda": (PLANNED,),
}
#: The schedules that can be compared, each with the backward whose gradients go with it.
BACKWARDS = {"flash2": "backward", "flash1": "flash1_backward", "standard": "standard_backward"}
HEADS = {"cpu": 6, "triton-interpreted": 3, "cuda": 6}


@dataclass(frozen=True)
class Failure:
    """The smallest failing case found, and what was wrong (findings or an exception)."""

    case: Case
    problems: tuple[str, ...]
    reproducer: str


@dataclass(frozen=True, repr=False)
class Report:
    """What ``verify`` saw: how many cases ran, with gradients or without, and the failure if there is one.

    ``undefined``: cases drawn and not compared, as what they ask for is no number (``asks_nothing``).
    """

    spec: AttentionSpec
    backend: str
    examples: int
    gradients: bool
    failure: Failure | None = None
    undefined: int = 0

    @property
    def passed(self) -> bool:
        """True when cases were compared and every one agreed with the oracle."""
        return self.failure is None and self.examples > 0

    def __str__(self) -> str:
        what = f"{self.spec.name} on {self.backend}"
        if not self.examples and self.failure is None:
            return f"nothing compared for {what}: what the drawn calls ask for is no number"
        if self.failure is None:
            more = ", gradients too" if self.gradients else "; gradients not compared"
            return f"OK {what}: agrees with the fp64 oracle in {counted(self.examples, 'call')}{more}"
        problems = "\n".join(f"   {p}" for p in self.failure.problems)
        return f"FAILED {what}, smallest call found:\n{problems}\n\n{self.failure.reproducer}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in ``verify``; ``report`` is how far it came."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report


class _Parted(AssertionError):
    """A case on which backend and oracle disagree."""


def verify(
    spec: AttentionSpec,
    backend: Backend | Run = "cpu",
    examples: int = 100,
    seed: int = 0,
    progress: Callable[[Case], None] | None = None,
    gradients: bool | RunBackward = True,
    shrink: bool = True,
    schedule: str = "flash2",
) -> Report:
    """Draws ``examples`` cases of ``spec`` and compares ``backend`` with the oracle on each.

    ``progress`` is called before each case. The same ``seed`` draws the same cases; those whose truth is no
    number are drawn anew, and counted. Exceptions of the backend count as failures and are shrunk like wrong
    results. ``gradients`` says whether to compare them too where the spec has any; a backend of one's own
    needs a function for them. Without ``shrink`` the first failing case is reported as it was drawn.
    ``schedule`` is the forward's algorithm, whose own backward gives the gradients; one that is not the
    default runs with given tiles only. Raises ``PlanError`` for an unknown one, and where a backend has no
    given tiles; ``CannotRun`` where the backend cannot run here; ``Interrupted`` after Ctrl-C.
    """
    from hypothesis import HealthCheck, Phase, given, reject, settings
    from hypothesis import seed as seeded
    from hypothesis.errors import Unsatisfiable

    from .specs import cases

    name = backend if isinstance(backend, str) else "cpu"
    dtypes = allowed_dtypes(spec, name)
    backward_of(schedule)  # says what is wrong before anything runs
    backward = _backward(spec, backend, gradients)
    compared = backward is not None
    last: list[tuple[Case, tuple[str, ...]]] = []
    ran = undefined = 0

    def search(case: Case) -> None:
        nonlocal ran, undefined
        if asks_nothing(spec, case, "cuda" if backend == "cuda" else "cpu"):
            undefined += 1
            reject()
        ran += 1
        if progress:
            progress(case)
        problems = problems_of(spec, case, backend, backward, schedule)
        if problems:
            last[:] = [(case, problems)]  # hypothesis runs the smallest one last
            raise _Parted

    limits = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    tiles = tuple(t for t in TILES[name] if t != PLANNED) if schedule != "flash2" else TILES[name]
    if not tiles:
        raise PlanError(f"schedule {schedule} runs on cpu and triton-interpreted, not on {name}")
    drawn = cases(spec, dtypes, LONGEST[name], tiles, HEADS[name])

    def report() -> Report:
        if not last:
            return Report(spec, name, ran, compared, undefined=undefined)
        case, problems = last[0]
        failure = Failure(case, problems, reproducer(spec, case, name, compared, schedule))
        return Report(spec, name, ran, compared, failure, undefined)

    try:
        seeded(seed)(limits(given(drawn)(search)))()
    except KeyboardInterrupt:
        ran -= not last  # the one under way
        raise Interrupted(report()) from None
    except (_Parted, Unsatisfiable):
        pass
    return report()


def asks_nothing(spec: AttentionSpec, case: Case, device: str = "cpu") -> bool:
    """Whether the truth of ``case`` itself is no number: a score or a sink that is NaN or +inf, such as the
    logarithm of a negative input, from which no backend can be right."""
    if spec.score == "s" and spec.sink is None:
        return False
    out, lse = oracle(spec, *case.tensors(spec, device))
    found = lse if lse.numel() else out  # a sigmoid of +inf is 1
    return bool((found.isnan() | (found == torch.inf)).any())


def problems_of(
    spec: AttentionSpec,
    case: Case,
    backend: Backend | Run,
    backward: Backend | RunBackward | None = None,
    schedule: str = "flash2",
) -> tuple[str, ...]:
    """What is wrong with a case, exceptions included, as text; with its gradients by ``backward``."""
    try:
        found = check(spec, case, backend, schedule)
        if backward is not None:
            found += check_gradients(spec, case, backward, backward_of(schedule))
    except CannotRun:
        raise
    except Exception as error:  # whatever else the backend raises is what is looked for
        return (f"{type(error).__name__}: {error}",)
    return tuple(str(f) for f in found)


def _backward(
    spec: AttentionSpec, backend: Backend | Run, gradients: bool | RunBackward
) -> Backend | RunBackward | None:
    """What computes the gradients to compare, None for nothing."""
    if not spec.backward or gradients is False:
        return None
    if not isinstance(gradients, bool):
        return gradients
    return backend if isinstance(backend, str) else None


def backward_of(schedule: str) -> str:
    """The backward that belongs to a forward's schedule. Raises ``PlanError`` for what is no forward."""
    if schedule not in BACKWARDS:
        raise PlanError(f"no forward schedule is called {schedule!r}; there are {', '.join(BACKWARDS)}")
    return BACKWARDS[schedule]


def allowed_dtypes(spec: AttentionSpec, backend: str) -> tuple[str, ...]:
    """The dtypes that the spec allows and the backend has."""
    found = tuple(d for d in BACKEND_DTYPES[backend] if d in spec.dtypes)
    if not found:
        raise ValueError(
            f"backend {backend} has {', '.join(BACKEND_DTYPES[backend])}; the spec allows only "
            f"{', '.join(spec.dtypes)}"
        )
    return found


def reproducer(
    spec: AttentionSpec, case: Case, backend: str, gradients: bool, schedule: str = "flash2"
) -> str:
    """A Python snippet that shows the failure and nothing else."""
    default = Case()
    given = ", ".join(
        f"{f.name}={getattr(case, f.name)!r}"
        for f in fields(Case)
        if getattr(case, f.name) != getattr(default, f.name)
    )
    seed = ", seed=case.dropout" if spec.dropout else ""
    device = '"cuda"' if backend == "cuda" else '"cpu"'
    chosen = [f", {n!r}" if schedule != "flash2" else "" for n in (schedule, backward_of(schedule))]
    names, right, more = "Case, check, oracle", "", ""
    if gradients:
        names = "Case, check, check_gradients, oracle, truth_gradients"
        right = f"print(truth_gradients(spec, q, k, v, inputs, *case.upstream(spec, {device}){seed}))\n"
        more = f" + check_gradients(spec, case, {backend!r}{chosen[1]})"
    return f"""\
import flashgen
from flashgen.verify import {names}

spec = flashgen.AttentionSpec.from_json({spec.canonical_json()!r})
case = Case({given})
q, k, v, inputs = case.tensors(spec, {device})
print(oracle(spec, q, k, v, inputs{seed}))  # out and lse as they should be
{right}for finding in check(spec, case, {backend!r}{chosen[0]}){more}:
    print(finding)
"""
