"""``flashgen bench``: times and errors beside the peers, on a CUDA device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .files import writable


def _list(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.replace(",", " ").split() if part)


def command(
    suites: Annotated[
        list[str] | None,
        typer.Argument(
            help="forward, variants, short, host, errors; backward, backward-variants, dropout, figure2; a "
            "model of bench/cases.yaml; choice, choice-backward, counters, unseen; default: all"
        ),
    ] = None,
    head_dim: Annotated[str, typer.Option("--head-dim", "-D", help="only these head dims: 64,128")] = "",
    seqlen: Annotated[
        str,
        typer.Option(
            "--seqlen", "-N", help="of forward, backward, dropout and choice, only these: 2048,16384"
        ),
    ] = "",
    spec: Annotated[str, typer.Option("--spec", help="only these specs of the table")] = "",
    peers: Annotated[str, typer.Option("--peers", help="whom to time beside")] = "flex,cudnn,flash",
    rounds: Annotated[int, typer.Option(min=1, help="alternating rounds; the median counts")] = 15,
    seconds: Annotated[float, typer.Option(help="start no new case after this many seconds")] = 540.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="5 rounds; of several lengths, 1024, 2048, 16384")
    ] = False,
    check: Annotated[bool, typer.Option("--check/--no-check", help="compare results with fp64")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="tiny shapes on the CPU backend")] = False,
    beside: Annotated[
        Path | None, typer.Option(help="of choice: a choices.json of another run, timed beside the model's")
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="of choice: so many candidates are timed")] = None,
    out: Annotated[Path | None, typer.Option(help="folder for bench.json and CSV files")] = None,
) -> None:
    """Measure flashgen beside its peers, in alternating rounds, and compare with the goals."""
    from flashgen.bench.main import SUITES, Choice, bench

    writable(None if out is None else out / "bench.json")
    lengths = tuple(map(int, _list(seqlen))) or ((1024, 2048, 16384) if quick else ())
    bench(
        Choice(tuple(suites or SUITES), tuple(map(int, _list(head_dim))), lengths, _list(spec)),
        peers=_list(peers),
        rounds=min(rounds, 5) if quick else rounds,
        seconds=seconds,
        check=check,
        dry_run=dry_run,
        out=out,
        beside=beside,
        top=top,
    )
