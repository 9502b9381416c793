"""Is the kernel right? Compared with mathematics: a dense fp64 oracle written from the spec's meaning.

``check`` judges one case, ``verify`` searches for a case that fails and shrinks it.
"""

from .case import Case
from .check import check
from .errors import Errors, Finding, judge, measure
from .oracle import oracle, truth
from .plain import plain
from .search import Report, verify

__all__ = [
    "Case",
    "Errors",
    "Finding",
    "Report",
    "check",
    "judge",
    "measure",
    "oracle",
    "plain",
    "truth",
    "verify",
]
