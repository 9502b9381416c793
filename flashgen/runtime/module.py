"""A generated module in this process. Its text was checked against the cache's hash when it was read, and
that text runs, whatever the file holds a moment later; Triton reads the same through ``linecache``.
"""

from __future__ import annotations

import hashlib
import linecache
import threading
from pathlib import Path
from types import ModuleType

_loaded: dict[tuple[str, str], ModuleType] = {}
_lock = threading.Lock()


def load(path: Path, text: str) -> ModuleType:
    """The module of the source ``text``, whose file is ``path``."""
    key = (str(path), text)
    with _lock:
        if key not in _loaded:
            name = f"flashgen_generated_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
            module = ModuleType(name)
            module.__file__ = str(path)
            # Without a time stamp linecache never rereads the file.
            linecache.cache[str(path)] = (len(text), None, text.splitlines(keepends=True), str(path))
            exec(compile(text, str(path), "exec"), module.__dict__)
            _loaded[key] = module
        return _loaded[key]
