"""``flashgen check``: is this a sound spec, and could it be said better?"""

from __future__ import annotations

import typer

from flashgen.errors import SpecError
from flashgen.expr.messages import clip
from flashgen.expr.text import to_text
from flashgen.spec import AttentionSpec, load_spec
from flashgen.spec.advice import advice
from flashgen.spec.gallery import find
from flashgen.spec.weights import DEFAULT, WEIGHTS

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
        for line in _tiles(spec):
            out().print(f"   {line}", markup=False)
        for hint in advice(spec):
            out().print(f"   hint: {hint}", markup=False)
    if failed:
        raise typer.Exit(1)


def _tiles(spec: AttentionSpec) -> list[str]:
    """What the mask saves: how many tiles are visited, and which of its parts give no bounds."""
    if spec.mask_expr is None:
        return []
    from flashgen.explain.visited import LENGTH, SIDES, visited
    from flashgen.ir.attention import lower

    v = visited(lower(spec), spec.mask_expr)
    most = f" at most, by {', '.join(v.inputs)}" if v.inputs else ""
    sides = " x ".join(map(str, SIDES.values()))
    share = f"{v.visited:,} of {v.tiles:,} tiles ({100 * v.visited / v.tiles:.0f}%){most}"
    if not v.visited:
        nothing = "out is 0 and lse is -inf" if "lse" in WEIGHTS[spec.row].left else "out is 0"
        return [f"mask: no tile is ever visited: {nothing}"]
    at = f"at seqlen {LENGTH:,}, in tiles of {sides}"
    lines = [f"mask: {at}, {share} are visited, {v.full:,} of them unmasked"]
    if v.free:
        parts = " and ".join(f"`{clip(to_text(p), 60)}`" for p in v.free)
        each = "gives no bounds: it is" if len(v.free) == 1 else "give no bounds: they are"
        others = "every tile" if not v.bounding else "every tile that the rest leaves"
        lines.append(f"{parts} {each} looked at pair by pair in {others}")
    return lines


def _summary(spec: AttentionSpec) -> str:
    dims = str(spec.d_qk) if spec.d_qk == spec.d_v else f"{spec.d_qk}/{spec.d_v}"
    parts = [spec.name, f"head dim {dims}"]
    if spec.heads is not None:
        parts.append(f"heads {spec.heads.q}/{spec.heads.kv}")
    for name, t in spec.inputs.items():
        learned = ", learned" if t.grad else ""
        parts.append(f"{name}[{', '.join(map(str, t.shape))}] ({t.dtype}{learned})")
    if spec.row != DEFAULT:
        parts.append(f"row {spec.row}")
    if spec.sink is not None:
        parts.append(f"sink {spec.sink}")
    if spec.dropout:
        parts.append(f"dropout {spec.dropout:g}")
    if not spec.backward:
        parts.append("inference only")
    return ", ".join(parts)
