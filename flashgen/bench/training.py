"""The suites ``backward``, ``backward-variants`` and ``dropout``: the backward alone, on a graph that is
kept, and with dropout the forward beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor

from flashgen.verify.gradients import learned

from . import contenders
from .cases import Case
from .clock import Run, rounds
from .contenders import OURS, REDUCE_ADD, STANDARD, Data, draw
from .suites import Session, checked, each, flops, record
from .truths import check
from .warm import warm

#: Dropout's seed where a result is checked; both halves of the key count.
SEED = 7_000_000_001
#: FLOPs of a backward over those of the forward, as the FlashAttention papers count.
BACKWARD = 2.5

Gradients: TypeAlias = Callable[[], Sequence[Tensor]]


def run(cases: list[Case], session: Session) -> None:
    """Measure ``cases``, peers' kernels compiled beforehand."""
    with keeping_graphs():
        warm(cases, session)
        each(cases, session, lambda case, seed: _one(case, session, seed))


@contextmanager
def keeping_graphs() -> Iterator[None]:
    """A compiled backward gives its buffers away by default, and then runs only once."""
    import torch._functorch.config as config

    with config.patch(donated_buffer=False):
        yield


def learnable(case: Case, device: str, dtype: torch.dtype, seed: int) -> tuple[Data, Tensor]:
    """Fresh tensors, those that are learned requiring gradients, and the gradient of ``out``."""
    data = draw(case.spec, case.shape, device, dtype, seed)
    for x in leaves(case, data):
        x.requires_grad_()
    g = torch.Generator(device=device).manual_seed(seed + 1)
    shape = (*data.q.shape[:3], case.spec.d_v)
    return data, torch.randn(shape, generator=g, device=device).to(dtype)


def leaves(case: Case, data: Data) -> tuple[Tensor, ...]:
    """q, k, v and the learned inputs."""
    return (data.q, data.k, data.v, *(data.inputs[name] for name in learned(case.spec)))


def backward_of(forward: Run, case: Case, data: Data, dout: Tensor) -> Gradients:
    """The backward alone of one ``forward``, as often as called."""
    out, xs = forward(), leaves(case, data)
    assert isinstance(out, Tensor)
    return lambda: torch.autograd.grad(out, xs, dout, retain_graph=True)


def wanted(case: Case, session: Session) -> list[str]:
    """The peers of a case that this session wants."""
    return [name for name in case.goals if name in session.peers or name in (STANDARD, REDUCE_ADD)]


def _one(case: Case, session: Session, seed: int) -> None:
    data, dout = learnable(case, session.device, session.dtype, seed)
    dropping = SEED if case.spec.dropout else None
    forwards, missing = contenders.assemble(case, data, wanted(case, session))
    ours = contenders.ours(case.spec, data, dropping)
    backwards: dict[str, Gradients] = {OURS: backward_of(ours, case, data, dout)}
    for name, forward in forwards.items():
        if name != OURS:
            _add(backwards, missing, name, case, forward, data, dout)
    errors = checked(case, session, lambda: check(case, data, dout, backwards, dropping, session.report))
    work, label = flops(case), case.label
    if case.suite == "dropout":
        times = rounds(forwards, session.rounds, session.device)
        record(case, f"{label} forward", times, work, {}, {}, session)
        label += " backward"
    times = rounds(backwards, session.rounds, session.device)
    counted = None if case.suite == "backward-variants" else BACKWARD * work
    record(case, label, times, counted, errors, missing, session)


def _add(
    backwards: dict[str, Gradients],
    missing: dict[str, str],
    name: str,
    case: Case,
    forward: Run,
    data: Data,
    dout: Tensor,
) -> None:
    made: list[Gradients] = []
    tried: dict[str, Run] = {}

    def make() -> Run:
        made.append(backward_of(forward, case, data, dout))
        return made[0]

    contenders.add(tried, missing, name, data, make)
    if name in tried:
        backwards[name] = made[0]
