"""``flashgen list``: the gallery, one line each."""

from __future__ import annotations

from rich.text import Text

from flashgen.grid import Grid
from flashgen.spec import load_spec
from flashgen.spec.gallery import gallery

from .console import wide


def command() -> None:
    """List the gallery: attention variants to use as they are, or to start from."""
    rows = []
    for name, path in gallery().items():
        spec = load_spec(path)
        dims = str(spec.d_qk) if spec.d_qk == spec.d_v else f"{spec.d_qk}/{spec.d_v}"
        rows.append((Text(name, "bold"), dims, spec.description))
    wide(Grid(("", "", ""), tuple(rows), words=frozenset({""})))
