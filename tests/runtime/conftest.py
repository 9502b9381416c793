"""The runtime's tests have a cache of their own, shared by them: what one generates another finds."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("FLASHGEN_CACHE_DIR")
    os.environ["FLASHGEN_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["FLASHGEN_CACHE_DIR"]
    else:
        os.environ["FLASHGEN_CACHE_DIR"] = before
