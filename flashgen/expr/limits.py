"""How far numbers reach.

Integers are exact. Inputs hold 32-bit values, positions and lengths are checked at each call, so how large a
value can get follows from its expression (``extent``): in 32 bits where it fits, else in 64; what could leave
those is refused with the spec.
"""

from __future__ import annotations

#: Sequences, batches and heads of a call number fewer.
MOST_LENGTH = 2**28
#: Tiles have at most so many rows: row numbers of a tile pass the length by less.
MOST_SIDE = 2**16

#: A shift by any other count than 0 … MOST_SHIFT is 0, in every form.
MOST_SHIFT = 31
#: What is written in an expression is below this in magnitude.
INT_LIMIT = 2**31
#: The largest fp32 and with it the largest float literal.
FLOAT_LIMIT = 3.4028234663852886e38
