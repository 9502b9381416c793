"""``flashgen generate``: refresh what is committed although it is derived."""

from __future__ import annotations

from .console import out, progress


def command() -> None:
    """Rewrite generated/, specs/schema.json and the documents' tables of a checkout."""
    from flashgen.generate.refresh import checkout, refresh

    root = checkout()
    with progress("making them anew", quiet=True):
        changed = list(refresh(root))
    for path in changed:
        out().print(
            f"wrote {path.relative_to(root)}" if path.exists() else f"removed {path.relative_to(root)}"
        )
    if not changed:
        out().print("everything is fresh")
