"""Names of numbers that every program knows: the lengths of a call, and the sides of tiles, from its plan.

A user's expressions see some of the lengths (``scope.VARIABLES``) and no side. None is ever negative.
"""

from __future__ import annotations

LENGTHS = ("B", "Hq", "Hkv", "Nq", "Nk")
#: Rows of queries and of keys.
SIDES = ("BLOCK_M", "BLOCK_N")
