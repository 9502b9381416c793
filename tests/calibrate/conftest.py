"""A smaller calibration, whose tilings are looked for once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flashgen.calibrate import measure

from . import made


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """Fewer head dims and tilings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "table", lambda: made.TABLE)
        patch.setattr(measure, "_sample", made.sample)
        yield
