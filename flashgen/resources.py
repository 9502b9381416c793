"""Where the folders are: ``specs``, ``templates`` and ``generated`` beside the package, and the cache.

In a checkout they stand beside ``flashgen/``; a wheel carries them inside it, under ``_data``.
"""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder ``name`` of the checkout or of the installed package; raises FileNotFoundError."""
    for parent in (_PACKAGE / "_data", _PACKAGE.parent):
        if (parent / name).is_dir():
            return parent / name
    raise FileNotFoundError(f"flashgen's folder {name!r} is neither in {_PACKAGE / '_data'} nor beside it")


def cache_folder() -> Path:
    """The cache on disk: ``FLASHGEN_CACHE_DIR``, else ``flashgen`` in the user's cache folder.

    For a user without a home it is a folder that cannot be made: nothing is kept."""
    named = os.environ.get("FLASHGEN_CACHE_DIR")
    try:
        if named:
            return Path(named).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "flashgen"
    except RuntimeError:
        return Path(os.devnull) / "flashgen"
