"""The softmax in three, two and one pass, each run: "safe" softmax, online softmax (Milakov and Gimelshein
2018), and FlashAttention, which needs the softmax only multiplied by V.

The first two read S from memory three times and twice; the third never has it there. All three run here in
the interpreter, checked: results against torch, bytes against the formulas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from flashgen.count.counts import counts
from flashgen.driver import Lowered
from flashgen.interpret.run import Traffic, lengths, run
from flashgen.ir.workload import Workload

from .programs import HEAD_DIM, PAPER, lowered, totals
from .tables import Cell, Column, Section, Table, paragraphs, show

#: Three passes, two, one: what is done, and the schedule.
PASSES = (
    (3, "maximum; sum; probabilities", "standard_three_pass"),
    (2, "maximum and sum; probabilities", "standard"),
    (1, "all at once, with P V", "flash2"),
)
#: Tiles at the papers' shape, and those of the run.
TILE = {"BLOCK_M": 128, "BLOCK_N": 64}
SIDES = {"BLOCK_M": 16, "BLOCK_N": 16}


@dataclass(frozen=True)
class Run:
    """What running a program on the CPU has shown: the largest differences to torch in fp32 of softmax(S) and
    of softmax(S) V, bytes requested in it and by the formula."""

    softmax_error: float
    output_error: float
    traffic: Traffic
    ran_bytes: int
    formula_bytes: int


def tensors(n: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """q, k, v of one sequence, two heads of n tokens, logits up to a few dozen."""
    g = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, 1, 2, n, HEAD_DIM, generator=g).unbind()
    return {"q": 4 * q, "k": 4 * k, "v": v}


def checked(of: Lowered, given: Mapping[str, torch.Tensor]) -> Run:
    """``of`` run on ``given``, counting; and with V = 1, whose output is softmax(S) itself."""
    traffic = Traffic()
    o = run(of.program, SIDES, given, check=True, traffic=traffic)["o"]
    s = given["q"].double() @ given["k"].double().mT / HEAD_DIM**0.5
    p = torch.softmax(s, -1)
    one = torch.eye(HEAD_DIM).expand(1, 2, HEAD_DIM, HEAD_DIM)
    square = {"q": given["q"][:, :, :HEAD_DIM], "k": given["k"][:, :, :HEAD_DIM], "v": one}
    found = run(of.program, SIDES, square)["o"]
    truth = torch.softmax(s[..., :HEAD_DIM, :HEAD_DIM], -1)
    formula = counts(of.program).at(Workload(**lengths(given)), SIDES, "fp32")
    return Run(
        softmax_error=float((found - truth).abs().max()),
        output_error=float((o - p @ given["v"].double()).abs().max()),
        traffic=traffic,
        ran_bytes=sum(traffic.read.values()) + sum(traffic.written.values()),
        formula_bytes=formula.requested,
    )


def section() -> Section:
    """Traffic at the papers' shape by formula; results and traffic of a small shape by running it."""
    n = 200
    given = tensors(n)
    counted, ran = [], []
    for passes, words, schedule in PASSES:
        of = lowered({}, schedule)
        counted.append(_counted(passes, words, of))
        found = checked(of, given)
        reads = found.traffic.read["S"] / (2 * n * n * 4)
        ran.append(
            (passes, reads, found.softmax_error, found.output_error, found.ran_bytes, found.formula_bytes)
        )
    first = Table(
        "softmax",
        "The forward by the passes of its softmax over a row of S: the papers' shape, tiles of 128 × 64.",
        (
            Column("passes", "Passes"),
            Column("what", "What each does"),
            Column("s_read_gb", "S read", "GB"),
            Column("s_written_gb", "S written", "GB"),
            Column("p_gb", "P written + read", "GB"),
            Column("requested_gb", "Requested in all", "GB"),
            Column("exponentials_per_pair", "Exponentials a pair"),
        ),
        tuple(counted),
    )
    second = Table(
        "softmax_run",
        f"The same programs run on the CPU: 1 sequence, 2 heads of {HEAD_DIM}, {n} tokens, fp32.",
        (
            Column("passes", "Passes"),
            Column("reads_of_s", "Reads of S", "times"),
            Column("softmax_error", "Error of softmax(S)"),
            Column("output_error", "Error of softmax(S) V"),
            Column("run_bytes", "Requested in the run", "bytes"),
            Column("formula_bytes", "By the formula", "bytes"),
        ),
        tuple(ran),
    )
    gb = ", ".join(map(show, first.column("requested_gb")))
    return Section(
        "softmax",
        "The softmax in three, two and one pass",
        "A sum needs the maximum, a probability the sum, unless sums are rescaled when the maximum grows.",
        (first, second),
        f"three, two and one pass request {gb} GB at the papers' shape; all run, and agree",
        notes=paragraphs("""
            Errors are the largest differences to torch.softmax in fp64, for logits of several dozens. The
            softmax itself is read out with V = 1.

            The run counts the bytes of every slice that it takes, and they equal the formula's, which then
            gives the papers' shape. There S is kept in fp32, P in fp16.

            One pass over the logits alone cannot give the probabilities, for they need the last maximum. It
            gives softmax(S) V: O is rescaled when the maximum grows.
        """),
    )


def _counted(passes: int, words: str, of: Lowered) -> tuple[Cell, ...]:
    n = totals(of, [TILE] * len(of.program.kernels), PAPER)
    s_read, s_written, p_read, p_written = (d.get(m, 0) / 1e9 for m in "SP" for d in (n.read, n.written))
    pairs = PAPER.B * PAPER.Hq * PAPER.Nq * PAPER.Nk
    return passes, words, s_read, s_written, p_written + p_read, n.requested / 1e9, n.exponentials / pairs
