"""How large a float expression may become, from its text alone.

The dot ``s`` is taken as moderate and positions as those of long sequences; what a tensor holds is anybody's
guess. Where this finds no bound, or one beyond ``LARGE``, a score is rounded so coarsely in fp32 that what
softmax makes of differences of logits must not be computed by way of their sizes.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any, TypeAlias

from . import extent as ex
from .limits import INT_LIMIT
from .nodes import Call, Const, Expr, Read, Var
from .ops import OPS

#: Lowest and highest value.
Reach: TypeAlias = tuple[Any, Any]
#: What ``s`` is taken to stay below, and positions, lengths and heads.
MODERATE, LONGEST = 2**10, 2**16
#: From here on the rounding of a row's ``lse`` alone moves its weights by a percent.
LARGE = 2**17
ANYTHING: Reach = (-math.inf, math.inf)


def may_be_large(e: Expr) -> bool:
    """Whether the float expression may leave ``[-LARGE, LARGE]``. Infinite literals hide and do not count."""
    low, high = reach(e)
    return not max(-low, high) <= LARGE


def reach(e: Expr) -> Reach:
    """Between which numbers ``e`` stays: from its values where each argument is at an end, or 0."""
    if e.type == "bool":
        return False, True
    if isinstance(e, Const):
        return (0.0, 0.0) if math.isinf(e.value) else (e.value, e.value)
    if isinstance(e, Var):
        most: float = MODERATE if e.type == "float" else LONGEST
        # ``qpos`` is below 0 where there are more queries than keys; a pair has a query and a key.
        least = {"s": -most, "qpos": -most, "Nq": 1, "Nk": 1}
        return least.get(e.name, 0), most
    if isinstance(e, Read):
        return ANYTHING if e.type == "float" else (-INT_LIMIT, INT_LIMIT)
    assert isinstance(e, Call)
    op, ends = OPS[e.op], [reach(a) for a in e.args]
    if e.type == "int" and all(a.type != "float" for a in e.args):
        return (op.extent or ex.bits)(*ends)
    if op.most is not None:
        size = op.most(*(max(-low, high) for low, high in ends))
        return -size, size
    corners = [{low, high, 0} if low < 0 < high else {low, high} for low, high in ends]
    found = [op.python(*at) for at in product(*corners)]
    return ANYTHING if any(x != x for x in found) else (min(found), max(found))
