"""``flashgen check``: is this a sound spec, and could it be said better?"""

from __future__ import annotations

import typer

from flashgen.errors import SpecError
from flashgen.spec import AttentionSpec, load_spec
from flashgen.spec.advice import advice
from flashgen.spec.gallery import find

from .console import out, print_error


def command(
    specs: list[str] = typer.Argument(..., metavar="SPEC...", help="Files, or names of the gallery."),
) -> None:
    """Check specs: every error with file:line:column, what was expected, what would work."""
    failed = False
    for given in specs:
        try:
            spec = load_spec(find(given))
        except SpecError as error:
            print_error(error)
            failed = True
            continue
        out().print(f"OK {given}: {_summary(spec)}", markup=False)
        for hint in advice(spec):
            out().print(f"   hint: {hint}", markup=False)
    if failed:
        raise typer.Exit(1)


def _summary(spec: AttentionSpec) -> str:
    dims = str(spec.d_qk) if spec.d_qk == spec.d_v else f"{spec.d_qk}/{spec.d_v}"
    parts = [spec.name, f"head dim {dims}"]
    if spec.heads is not None:
        parts.append(f"heads {spec.heads.q}/{spec.heads.kv}")
    for name, t in spec.inputs.items():
        learned = ", learned" if t.grad else ""
        parts.append(f"{name}[{', '.join(map(str, t.shape))}] ({t.dtype}{learned})")
    if spec.sink is not None:
        parts.append(f"sink {spec.sink}")
    if spec.dropout:
        parts.append(f"dropout {spec.dropout:g}")
    if not spec.backward:
        parts.append("inference only")
    return ", ".join(parts)
