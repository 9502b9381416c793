"""``flashgen list``: the gallery, one line each."""

from __future__ import annotations

from rich.text import Text

from flashgen.spec import load_spec
from flashgen.spec.gallery import gallery

from .console import out


def command() -> None:
    """List the gallery: attention variants to use as they are, or to start from."""
    names = gallery()
    width = max(map(len, names), default=0)
    for name, path in names.items():
        spec = load_spec(path)
        dims = str(spec.d_qk) if spec.d_qk == spec.d_v else f"{spec.d_qk}/{spec.d_v}"
        out().print(Text.assemble((f"{name:<{width}}", "bold"), f"  {dims:<7}  {spec.description}"))
