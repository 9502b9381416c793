"""``flashgen verify``: hypothesis looks for a call on which the kernel and the oracle part."""

from __future__ import annotations

import typer

from flashgen.errors import FlashgenError
from flashgen.spec import load_spec
from flashgen.spec.gallery import find

from .console import calls, out

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
    """Compare kernels with a dense fp64 oracle on random calls; print a small reproducer if one fails."""
    if backend not in BACKENDS:
        raise FlashgenError(f"--backend {backend}: expected one of {', '.join(BACKENDS)}")
    try:
        import hypothesis  # noqa: F401
    except ModuleNotFoundError:
        raise FlashgenError(
            "flashgen verify draws its calls with hypothesis: pip install hypothesis"
        ) from None
    found = [load_spec(find(given)) for given in specs]
    _needs(backend)
    from flashgen.plan.size import counted
    from flashgen.verify.search import allowed_dtypes, backward_of, verify

    backward_of(schedule)
    where = backend if schedule == "flash2" else f"{backend} ({schedule})"
    failed = False
    for spec in found:
        try:
            dtypes = allowed_dtypes(spec, backend)
        except ValueError as error:
            raise FlashgenError(f"{spec.name}: {error}") from None
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
        if report.failure is None:
            line = f"OK {spec.name} on {where}: agrees with the fp64 oracle in"
            line += f" {counted(report.examples, 'call')}: {', '.join(dtypes)}"
            why = "--no-gradients" if no_gradients else "the spec's field `backward` is false"
            line += ", gradients too" if report.gradients else f"; gradients not compared ({why})"
            out().print(line, markup=False)
            continue
        failed = True
        out().print(f"FAILED {spec.name} on {where}, smallest call found:", markup=False)
        for problem in report.failure.problems:
            out().print(f"   {problem}", markup=False)
        out().print(f"\n{report.failure.reproducer}", markup=False)
    out().print(f"ran on {backend}; not run: {', '.join(_others(backend))}", markup=False)
    if failed:
        raise typer.Exit(1)


def _needs(backend: str) -> None:
    if backend == "cuda" and not _has_gpu():
        raise FlashgenError(
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
