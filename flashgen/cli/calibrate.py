"""``flashgen calibrate``: a target's fitted numbers for this GPU, from plain attention measured on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flashgen.grid import Grid, grid

from .console import bar, out, wide
from .files import writable

if TYPE_CHECKING:
    from flashgen.calibrate.fit import Error, Fit
    from flashgen.calibrate.measurements import Measurements


def command(
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            help="The target, or file, to start from; default: the GPU's own, or the nearest.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The new target file; default: TARGET_calibrated.yaml, here."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Begin no new length after this many seconds; the fit comes on top.")
    ] = 120.0,
    measurements: Annotated[
        Path | None,
        typer.Option(help="A CSV file: read if it is there, so that no GPU is needed; else written."),
    ] = None,
    fitted: Annotated[
        str | None,
        typer.Option("--fit", help="The numbers to fit; default: clock,l2_rate,latency,launch."),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes that compile; default: cores.")] = None,
) -> None:
    """Measure attention without a mask and under the lower triangle, and fit the target's numbers to it.

    What comes out is a file for ``--target``. Sustained shares come from a device copy and a matrix product.
    """
    from flashgen.calibrate.fit import FITTED, check_names, fit
    from flashgen.calibrate.measurements import Measurements
    from flashgen.calibrate.start import start_for
    from flashgen.calibrate.write import sourced, write

    made = measurements if measurements is not None and not measurements.exists() else None
    writable(output, made)
    names = tuple(fitted.replace(" ", "").split(",")) if fitted is not None else FITTED
    with bar() as tell:
        if measurements is not None and measurements.exists():
            found = Measurements.read(measurements)
            start = start_for(found.device, target)
            check_names(start, names)
        else:
            from flashgen.calibrate.measure import device_at_hand, measure

            device = device_at_hand()
            start = start_for(device, target)
            check_names(start, names)
            found = measure(device, start, seconds, jobs, tell)
            if measurements is not None:
                found.write(measurements)
        result = fit(start, found, names, tell)
    new = sourced(result, found)
    path = output or Path(f"{start.name}_calibrated.yaml")
    write(new, path)
    out().print(f"{found.device.name} ({found.device.arch}), {found.device.versions}", markup=False)
    wide(numbers(result))
    wide(_errors(result, found))
    out().print(f"wrote {path}: `flashgen explain SPEC --target {path}` plans with it", markup=False)


def numbers(f: Fit) -> Grid:
    """The fitted numbers before and after."""
    rows = []
    for name in dict.fromkeys((*f.names, "sustained", "hbm_sustained")):
        old, new = f.start.numbers[name], f.target.numbers[name]
        rows.append((name, old.unit, f"{old.value:g}", f"{new.value:g}"))
    heads = ("number", "unit", "before", "after")
    return grid(heads, rows, ("unit",), "from the kernels, the copy and the product")


def _errors(f: Fit, found: Measurements) -> Grid:
    from flashgen.calibrate.fit import error

    rows = [(name, *_cells(e)) for name, e in (("before", f.before), ("after", f.after))]
    for mask, d in dict.fromkeys((r.mask, r.head_dim) for r in found.rows):
        part = [r for r in found.rows if (r.mask, r.head_dim) == (mask, d)]
        rows.append((f"after, {mask or 'no mask'}, D={d}", *_cells(error(f.target, part))))
    heads = ("numbers", "geometric mean", "rms", "worst", "worst case")
    return grid(heads, rows, ("worst case",), f"predicted / measured, {len(found.rows)} kernels")


def _cells(e: Error) -> tuple[str, ...]:
    return f"{e.mean:.3f}", f"{100 * e.rms:.1f}%", f"{e.worst:.2f}", e.case
