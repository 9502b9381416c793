"""What a call of one spec must look like, read off its canonical JSON without building the spec.

The op's ``spec`` argument is that JSON, so a graph exported elsewhere can be checked and run here. Reading
it directly keeps pydantic and the expression parser out of a warm start.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from flashgen.errors import ExprError, Place, PlanError, SpecError
from flashgen.expr.parse import parse
from flashgen.expr.reach import may_be_large
from flashgen.expr.scope import SCORE_SCOPE, InputType
from flashgen.spec.weights import DEFAULT, WEIGHTS


@dataclass(frozen=True)
class InputDecl:
    """A named input: its dims, each a symbol such as ``seqlen_k`` or a number, ``float int bool``, and
    whether it is learned."""

    name: str
    shape: tuple[str | int, ...]
    type: Literal["float", "int", "bool"]
    grad: bool = False


@dataclass(frozen=True)
class Signature:
    """Names, dims and dtypes of a spec's tensors. ``heads`` is (Hq, Hkv) where the spec fixes them.

    ``names`` are the inputs' in the order in which the op takes them; ``sink`` says whether there is one,
    ``backward`` whether gradients may be asked for, ``row`` the row function, ``lse_parts`` what a forward
    leaves of each row, ``saved`` what a backward takes of all that a forward makes.
    """

    name: str
    d_qk: int
    d_v: int
    dtypes: tuple[str, ...]
    heads: tuple[int, int] | None
    inputs: tuple[InputDecl, ...]
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    dropout: float = 0.0
    sink: bool = False
    backward: bool = True
    row: str = DEFAULT
    lse_parts: tuple[str, ...] = ("lse",)
    saved: tuple[str, ...] = ("o", "lse")

    @property
    def learned(self) -> tuple[str, ...]:
        """The inputs that have a gradient."""
        return tuple(i.name for i in self.inputs if i.grad)

    def given(self, schedule: str) -> tuple[str, ...]:
        """The tensors that a schedule's program is given, in the order of its module's arguments: inputs by
        their names, what is not named by the user as ``ours`` says."""
        matrices = ("q", "k", "v", *self.names)
        seed = (self.ours("seed"),) if self.dropout else ()
        if not makes_gradients(schedule):
            return (*matrices, *seed)
        dlse = ("dlse",) if through_lse(schedule) else ()
        return (*map(self.ours, ("do", *dlse)), *matrices, *map(self.ours, self.saved), *seed)

    def ours(self, name: str) -> str:
        """The key of a tensor that is no input, which an input's name never is."""
        return f"({name})" if name in self.names else name

    def without_lse(self) -> str:
        """Why a call gives no ``lse``, in words."""
        if "lse" in self.lse_parts:
            return "declares no lse: its `outputs` would have to list it"
        return f"has no lse: its `row: {self.row}` divides by no sum of weights; leave `return_lse` out"

    def gradient(self, name: str) -> str:
        """The key of an input's gradient, which is no other tensor's: ``dlse`` may be given, too."""
        key, taken = f"d{name}", {*self.names, self.ours("do"), self.ours("dlse")}
        while key in taken:
            key = f"({key})"
        return key


def backward_schedule(through_lse: bool, schedule: str = "backward") -> str:
    """The schedule for a gradient that arrives at ``out`` alone, or at ``lse`` too."""
    return f"{schedule}_lse" if through_lse else schedule


def makes_gradients(schedule: str) -> bool:
    """Whether a schedule's program is a backward pass: ``backward``, ``standard_backward_lse``, ..."""
    return "backward" in schedule


def through_lse(schedule: str) -> bool:
    """Whether that takes a gradient of ``lse`` as well."""
    return schedule.endswith("_lse")


@lru_cache(maxsize=1024)
def signature(spec: str) -> Signature:
    """The signature of a spec's canonical JSON. Raises ``SpecError`` for a text that is none."""
    try:
        return _read(json.loads(spec))
    except (ValueError, TypeError, KeyError, AttributeError, ExprError) as e:
        raise SpecError([(Place(), f"expected a spec's canonical JSON, got {spec[:60]!r}")]) from e


def _read(fields: dict[str, Any]) -> Signature:
    dims, heads, inputs = fields["head_dim"], fields.get("heads"), fields.get("inputs") or {}
    row = fields.get("row", DEFAULT)
    weights = WEIGHTS[row]
    rest = ("lse_lo",) if "lse" in weights.left and fields["backward"] and _large(fields) else ()
    return Signature(
        name=fields["name"],
        d_qk=dims["qk"] if isinstance(dims, dict) else dims,
        d_v=dims["v"] if isinstance(dims, dict) else dims,
        dtypes=tuple(fields["dtypes"]),
        heads=None if heads is None else (heads["q"], heads["kv"]),
        inputs=tuple(InputDecl(name, tuple(i["shape"]), i["dtype"], i["grad"]) for name, i in inputs.items()),
        names=tuple(inputs),
        outputs=tuple(fields["outputs"]),
        dropout=fields["dropout"],
        sink=fields["sink"] is not None,
        backward=fields["backward"],
        row=row,
        lse_parts=(*weights.left, *rest),
        saved=(*weights.saved, *rest),
    )


def _large(fields: dict[str, Any]) -> bool:
    """Whether the score may be large: as ``AttentionIR`` has it, from the text."""
    if fields["score"] == "s":
        return False
    inputs = {n: InputType(len(i["shape"]), i["dtype"]) for n, i in (fields["inputs"] or {}).items()}
    scope = replace(SCORE_SCOPE, inputs=inputs, constants=fields["constants"])
    return may_be_large(parse(fields["score"], scope, want="float"))


def without_dropout(spec: str) -> str:
    """The canonical JSON of the same spec with ``dropout: 0``."""
    return json.dumps({**json.loads(spec), "dropout": 0.0}, separators=(",", ":"))


def default_dtype(sig: Signature, target: str) -> str:
    """The first dtype of a spec that a target's kernels have."""
    fits = [d for d in sig.dtypes if target == "cpu" or d != "fp64"]
    if not fits:
        raise PlanError(f"{sig.name} is declared for {', '.join(sig.dtypes)} only, not for {target}")
    return fits[0]
