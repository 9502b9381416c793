"""``flashgen verify``: hypothesis looks for a call on which the kernel and the oracle part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from flashgen.errors import CannotRun, FlashgenError
from flashgen.spec import load_spec
from flashgen.spec.gallery import find

from .console import calls, out

if TYPE_CHECKING:
    from flashgen.verify.search import Failure, Report

#: What a shell expects of a command that Ctrl-C ended.
INTERRUPTED = 130
BACKENDS = ("cpu", "triton-interpreted", "cuda")


def command(
    specs: list[str] = typer.Argument(..., metavar="SPEC...", help="Files, or names of the gallery."),
    backend: str = typer.Option(
        "cpu", help="cpu (the program itself), triton-interpreted (the kernel, fp16 and fp32), or cuda."
    ),
    examples: int = typer.Option(100, min=1, help="How many calls to draw for each spec."),
    seed: int = typer.Option(0, help="The same seed draws the same calls."),
    schedule: str = typer.Option("flash2", help="The algorithm: flash2, flash1 or standard."),
    no_gradients: bool = typer.Option(False, "--no-gradients", help="Compare out and lse only."),
) -> None:
    """Compare kernels with a dense fp64 oracle on random calls; print a small reproducer if one fails.

    Exits with 0 where all agree, 1 where one does not, 3 where nothing could be compared, 130 after Ctrl-C.
    """
    if backend not in BACKENDS:
        raise FlashgenError(f"--backend {backend}: expected one of {', '.join(BACKENDS)}")
    try:
        import hypothesis  # noqa: F401
    except ModuleNotFoundError:
        raise CannotRun("flashgen verify draws its calls with hypothesis: pip install hypothesis") from None
    found = [load_spec(find(given)) for given in specs]
    _needs(backend)
    from flashgen.size import counted
    from flashgen.verify.search import Interrupted, allowed_dtypes, backward_of, verify

    backward_of(schedule)
    where = backend if schedule == "flash2" else f"{backend} ({schedule})"
    failed = nothing = False
    for spec in found:
        try:
            dtypes = allowed_dtypes(spec, backend)
        except ValueError as error:
            raise FlashgenError(f"{spec.name}: {error}") from None
        try:
            with calls(f"{spec.name} on {backend}", examples) as tell:
                report = verify(
                    spec,
                    backend,  # type: ignore[arg-type]
                    examples,
                    seed,
                    lambda case: tell(),
                    not no_gradients,
                    schedule=schedule,
                )
        except Interrupted as stopped:
            _stopped(stopped.report, where, examples, seed)
            raise typer.Exit(INTERRUPTED) from None
        if report.examples == 0:
            nothing = True
            out().print(f"CANNOT SAY {spec.name} on {where}: {_undefined(report.undefined)}", markup=False)
            continue
        if report.failure is None:
            line = f"OK {spec.name} on {where}: agrees with the fp64 oracle in"
            line += f" {counted(report.examples, 'call')}: {', '.join(dtypes)}"
            why = "--no-gradients" if no_gradients else "the spec's field `backward` is false"
            line += ", gradients too" if report.gradients else f"; gradients not compared ({why})"
            if report.undefined:
                line += f"; {_undefined(report.undefined)}"
            out().print(line, markup=False)
            continue
        failed = True
        _failed(report.failure, where, spec.name, "smallest call found")
    out().print(f"ran on {backend}; not run: {', '.join(_others(backend))}", markup=False)
    if failed or nothing:
        raise typer.Exit(1 if failed else CannotRun.status)


def _failed(failure: Failure, where: str, name: str, which: str) -> None:
    out().print(f"FAILED {name} on {where}, {which}:", markup=False)
    for problem in failure.problems:
        out().print(f"   {problem}", markup=False)
    out().print(f"\n{failure.reproducer}", markup=False)


def _stopped(report: Report, where: str, examples: int, seed: int) -> None:
    """How far it came."""
    from flashgen.size import counted

    name = report.spec.name
    if report.failure is not None:
        _failed(report.failure, where, name, "stopped while looking for a smaller call; the smallest so far")
        return
    out().print(
        f"STOPPED {name} on {where}: {counted(report.examples, 'call')} of {examples} agreed with the fp64 "
        f"oracle; `--seed {seed}` draws the same",
        markup=False,
    )


def _undefined(number: int) -> str:
    from flashgen.size import counted

    return (
        f"{counted(number, 'call')} drawn and not compared, as the score that the spec asks for is NaN or "
        "infinite there (such as the logarithm of a negative input)"
    )


def _needs(backend: str) -> None:
    if backend == "triton-interpreted":
        from flashgen.verify.environment import need_interpreter

        need_interpreter()
    if backend == "cuda" and not _has_gpu():
        raise CannotRun(
            "--backend cuda: torch finds no CUDA device here; cpu and triton-interpreted need none"
        )


def _others(backend: str) -> list[str]:
    """The backends that were not run, each with what would run it or why it cannot be."""
    return [
        f"{name} (torch finds no CUDA device here)"
        if name == "cuda" and not _has_gpu()
        else f"{name} (--backend {name})"
        for name in BACKENDS
        if name != backend
    ]


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
