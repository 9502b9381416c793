"""The GPU languages by name: packages ``flashgen.backends.NAME``, each with its ``BACKEND``, and those that
live elsewhere and are registered. What they can do says ``flashgen.plan.backend``."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from .errors import PlanError

_KNOWN: dict[str, Any] = {}


def register(name: str, backend: Any) -> None:
    """Make a backend known."""
    _KNOWN[name] = backend


def check(name: str) -> None:
    """Raises ``PlanError`` where no backend is called ``name``; opens none."""
    if name not in _KNOWN and importlib.util.find_spec(f"flashgen.backends.{name}") is None:
        raise PlanError(f"no backend is called {name!r}: there is no package flashgen.backends.{name}")


def backend(name: str) -> Any:
    """The backend called ``name``. Raises ``PlanError`` where there is none."""
    if name not in _KNOWN:
        check(name)
        register(name, importlib.import_module(f"flashgen.backends.{name}").BACKEND)
    return _KNOWN[name]
