"""How far integers reach. Kernels compute them in 32 bits."""

from __future__ import annotations

#: Int inputs are held to [-INT_RANGE, INT_RANGE] when read, and so is a literal that is added: the sum of
#: one of them and positions or lengths does not pass 32 bits.
INT_RANGE = 2**30

#: What is written in an expression, and what its constants come to, is below this in magnitude.
INT_LIMIT = 2**31
#: The largest fp32 and with it the largest float literal.
FLOAT_LIMIT = 3.4028234663852886e38
