"""Triton as it is found here, without importing it: its version, a cache that it can write, and what is said
where one of them is missing. It may come of any distribution: ``triton``, ``pytorch-triton``,
``triton-windows``, a build of one's own.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import re
import shutil
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from .errors import CannotRun
from .resources import cache_folder

#: Distributions that bring Triton, by ``sys.platform``; elsewhere there is none.
DISTRIBUTIONS = {"linux": "triton", "win32": "triton-windows"}


@lru_cache(maxsize=1)
def triton_version() -> str | None:
    """The version of the Triton that ``import triton`` would give; None where there is none."""
    try:
        spec = importlib.util.find_spec("triton")
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin:
        return None
    try:
        text = Path(spec.origin).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return "unknown"
    found = re.search(r"""^__version__\s*=\s*['"]([^'"]+)['"]""", text, re.MULTILINE)
    return found[1] if found else "unknown"


def need_triton(what: str, instead: str) -> None:
    """Raise ``CannotRun`` where there is no Triton: ``what`` needs it, ``instead`` works without."""
    if triton_version() is not None:
        return
    name = DISTRIBUTIONS.get(sys.platform)
    get = f"`pip install {name}` would bring it" if name else f"there is none for {sys.platform}"
    raise CannotRun(f"{what} needs Triton, which is not installed: {get}. Without it {instead}")


def cache_for_triton() -> None:
    """Let Triton keep what it compiles where it can: a folder of its own choice that cannot be written is
    replaced by one in flashgen's cache, or by a temporary one that is removed at exit. Raises ``CannotRun``
    where there is none, or where ``TRITON_CACHE_DIR`` names one that cannot be written.
    """
    if named := os.environ.get("TRITON_CACHE_DIR"):
        if not _writable(Path(named)):
            raise CannotRun(
                f"Triton's cache {named} cannot be written: TRITON_CACHE_DIR should name a folder that can be"
            )
        return
    home = os.environ.get("TRITON_HOME") or os.path.expanduser("~")
    if os.path.isabs(home) and _writable(Path(home) / ".triton" / "cache"):
        return
    own = cache_folder() / "triton"
    if not _writable(own):
        own = _temporary()
    os.environ["TRITON_CACHE_DIR"] = str(own)


def _temporary() -> Path:
    try:
        own = Path(tempfile.mkdtemp(prefix="flashgen-triton-"))
    except OSError:
        places = f"{Path(os.path.expanduser('~')) / '.triton'}, {cache_folder()} and the temporary folders"
        raise CannotRun(
            f"Triton needs a folder to write to, and none of {places} can be written: TRITON_CACHE_DIR and "
            "TMPDIR should name some that can be"
        ) from None
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
