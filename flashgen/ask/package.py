"""Packages that are functions too: ``flashgen.verify(spec)`` beside ``flashgen.verify.oracle``.

Python binds a subpackage as an attribute of its package whenever it is imported, so a function of the same
name would be there or not by the order of imports. Here the package itself can be called.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class CallablePackage(ModuleType):
    """Calls the function of its own last name in its module ``ask``."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    @property
    def _function(self) -> Callable[..., Any]:
        name = self.__name__.rpartition(".")[2]
        found: Callable[..., Any] = getattr(importlib.import_module(f"{self.__name__}.ask"), name)
        return found

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function)


def callable_package(name: str) -> None:
    """Make the package ``name``, which is being imported, callable."""
    sys.modules[name].__class__ = CallablePackage
