"""Is the kernel right? Compared with mathematics: a dense fp64 oracle written from the spec's meaning.

``check`` judges one case, ``check_gradients`` its gradients, ``check_dropout`` the mask of a spec that drops;
``verify`` searches for a case that fails and shrinks it; ``flashgen.verify(spec)`` calls it.
"""

from flashgen.ask.package import callable_package

from .carried import gradient_floors
from .case import Case
from .check import check, check_dropout, check_gradients
from .errors import Errors, Finding, judge, judge_gradients, measure
from .gradients import truth_gradients
from .oracle import oracle, truth
from .plain import plain, plain_gradients
from .search import Report, verify

__all__ = [
    "Case",
    "Errors",
    "Finding",
    "Report",
    "check",
    "check_dropout",
    "check_gradients",
    "gradient_floors",
    "judge",
    "judge_gradients",
    "measure",
    "oracle",
    "plain",
    "plain_gradients",
    "truth",
    "truth_gradients",
    "verify",
]

callable_package(__name__)
