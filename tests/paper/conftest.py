"""The explorer's headless Chromium, where there is one."""

from tests.explore.conftest import chromium

__all__ = ["chromium"]
