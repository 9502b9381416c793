"""``AttentionSpec``: what one attention computes, and nothing about how.

Layouts are ``(batch, heads, seqlen, head_dim)``. A spec is frozen, has been checked whole, and raises
``SpecError`` listing every problem when it is not sound; ``load.py`` adds file, line and column.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    model_validator,
)

from flashgen.expr import words
from flashgen.expr.nodes import Expr
from flashgen.expr.words import KINDS

from . import checks, written
from .fields import (
    SYMBOLS,
    Constant,
    Count,
    Dim,
    Distinct,
    Flag,
    Frozen,
    HeadDim,
    Mask,
    Number,
    Rate,
    Score,
    Symbol,
    Text,
    choice,
    listed,
    mapping,
    shown,
)
from .problems import (
    FieldError,
    Problem,
    found_by_pydantic,
    not_by_name,
    raise_problems,
    was_checked_whole,
)
from .weights import DEFAULT, ROWS, WEIGHTS, Row

__all__ = ["LATER", "SYMBOLS", "AttentionSpec", "HeadDims", "Heads", "InputSpec", "Symbol"]

MOST_DIMS = 5
DTYPES = ("fp16", "bf16", "fp32", "fp64")

#: Fields that have their place and do nothing yet, with what to do meanwhile.
LATER = {
    "block_sparsity": "block sparsity read from a tensor is not implemented yet; a mask expression already "
    "skips the tiles it proves empty",
    "packed": "packed (variable-length) batches are not implemented yet; pad, and mask with "
    "`k < lengths[b]` for a [batch] input",
    "split": "splitting the keys over several programs (decode) is not implemented yet",
}

Later = Annotated[
    Any, Field(description="Not implemented yet: leave it out.", json_schema_extra={"type": "null"})
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        cls.__signature__ = written.signature_of(cls, LATER)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return written.fields_set(self).items()


class HeadDims(_Part):
    """Head dims of the two products: ``qk`` of queries and keys, ``v`` of values and the output."""

    qk: HeadDim
    """Elements of a query and of a key: a multiple of 8 from 8 to 256."""
    v: HeadDim
    """Elements of a value and of an output row: a multiple of 8 from 8 to 256."""


class Heads(_Part):
    """A fixed number of heads, checked at each call. ``q`` is a multiple of ``kv``."""

    q: Count
    """Query heads."""
    kv: Count
    """Key/value heads; query head h reads KV head h // (q // kv)."""


class InputSpec(_Part):
    """A tensor that expressions read by index, e.g. ``slopes[h]``."""

    shape: Annotated[tuple[Dim, ...], listed("[heads, seqlen_k]", MOST_DIMS, least=0)]
    """Sizes, outermost first: batch, heads, kv_heads, seqlen_q, seqlen_k or a whole number. `[]` is one
    number for all, read by its bare name."""
    dtype: Annotated[Literal["float", "int", "bool"], choice("float", "int", "bool", other=KINDS)] = "float"
    """float (fp16, bf16 and fp32 tensors fit), int (int32, int64) or bool. Ints are exact; int64 tensors hold
    values that fit int32, which is checked."""
    grad: Flag = False
    """Whether the input is learned: calls return its gradient. Float inputs only."""


def _kind(value: Any) -> str:
    return "<dims>" if isinstance(value, (dict, HeadDims)) else "<one>"


class AttentionSpec(_Part):
    """``out = softmax(score + (0 where mask else -inf)) v`` for each head, and its log-sum-exp; or with
    another row function than softmax."""

    name: Text
    """Names the kernel and its files: a lowercase letter, then letters, digits or _."""
    description: Text = ""
    """What this attention is, for readers."""
    source: Text = ""
    """Where it is defined: a paper with section, or a model's published code."""
    head_dim: Annotated[
        Annotated[HeadDim, Tag("<one>")] | Annotated[HeadDims, Tag("<dims>")], Discriminator(_kind)
    ]
    """A multiple of 8 from 8 to 256, or {qk: ..., v: ...} where they differ."""
    heads: Heads | None = None
    """A fixed number of heads, {q: 32, kv: 8}. Left out: any, with Hq a multiple of Hkv."""
    dtypes: Annotated[
        tuple[Annotated[Literal["fp16", "bf16", "fp32", "fp64"], choice(*DTYPES, same=words.DTYPES)], ...],
        listed("[bf16, fp16]", 4),
        Distinct,
    ] = ("fp16", "bf16", "fp32", "fp64")
    """Element types of q, k, v. fp64 runs on the CPU backend only."""
    scale: Number | None = None
    """Multiplies q . k to give `s`. Left out: 1/sqrt(head_dim of q and k)."""
    score: Score = "s"
    """What the row function sees, an expression over s b h hkv q k qpos Nq Nk, inputs and constants."""
    row: Annotated[Row, choice(*ROWS)] = DEFAULT
    """What makes weights of scores: softmax, or sigmoid, 1 / (1 + exp(-score)) of each pair by itself, which
    has no lse and no sink."""
    mask: Mask | None = None
    """True where a query sees a key. Left out: everywhere."""
    constants: Annotated[dict[str, Constant], mapping("{cap: 50.0}"), Frozen] = Field(default_factory=dict)
    """Named numbers for the expressions; part of the kernel."""
    inputs: Annotated[dict[str, InputSpec], mapping("{slopes: {shape: [heads]}}"), Frozen] = Field(
        default_factory=dict
    )
    """Named tensors for the expressions; passed at each call."""
    outputs: Annotated[
        tuple[Annotated[Literal["out", "lse"], choice("out", "lse")], ...], listed("[out, lse]", 2), Distinct
    ] = ("out", "lse")
    """What can be asked for: out (batch, heads, seqlen_q, v) and, of a softmax, lse, fp32 (batch, heads,
    seqlen_q)."""
    sink: Text | None = None
    """A logit of each row without a key, which joins the softmax's denominator: `sinks[h]`. An expression
    over b h hkv q qpos Nq Nk, inputs and constants."""
    dropout: Rate = 0.0
    """The probability with which an attention weight is dropped in training, from 0 up to but not 1."""
    tf32: Flag = False
    """Whether dots of fp32 tensors may round their operands to tf32 (10 mantissa bits)."""
    backward: Flag = True
    """Whether gradients can be asked for. False refuses them and keeps the spec to inference."""

    block_sparsity: Later = None
    packed: Later = None
    split: Later = None

    _score: Expr = PrivateAttr()
    _mask: Expr | None = PrivateAttr(default=None)
    _sink: Expr | None = PrivateAttr(default=None)
    _json: str = PrivateAttr(default="")

    if not TYPE_CHECKING:  # the checker and editors keep the signature that the fields give

        def __init__(self, /, *given: Any, **fields: Any) -> None:
            if given:
                raise FieldError([not_by_name(given[0])])
            try:
                super().__init__(**fields)
            except ValidationError as error:
                problems = found_by_pydantic(error, type(self))
                if not was_checked_whole(error):
                    problems += checks.of_the_sound_part(fields, problems, type(self))
                raise FieldError(problems) from None

    @model_validator(mode="after")
    def _sound(self) -> AttentionSpec:
        if "outputs" not in self.model_fields_set:  # all that there is
            object.__setattr__(self, "outputs", ("out", *WEIGHTS[self.row].left))
        found, problems = checks.check(self)
        if problems or found is None:
            raise_problems(problems)
        else:
            self._score, self._mask, self._sink = found
            same = {"row"} if self.row == DEFAULT else set[str]()  # so that hashes of older specs stay
            fields = self.model_dump(mode="json", exclude={*LATER, *same})
            self._json = json.dumps(fields, separators=(",", ":"), allow_nan=False)
        return self

    @property
    def d_qk(self) -> int:
        """The head dim of queries and keys."""
        return self.head_dim.qk if isinstance(self.head_dim, HeadDims) else self.head_dim

    @property
    def d_v(self) -> int:
        """The head dim of values and of the output."""
        return self.head_dim.v if isinstance(self.head_dim, HeadDims) else self.head_dim

    @property
    def score_expr(self) -> Expr:
        """The score as a typed float expression."""
        return self._score

    @property
    def mask_expr(self) -> Expr | None:
        """The mask as a typed bool expression, None where every key is seen."""
        return self._mask

    @property
    def sink_expr(self) -> Expr | None:
        """The sink's logit as a typed float expression, None where there is none."""
        return self._sink

    def canonical_json(self) -> str:
        """All of the spec in one line: equal for equal specs. Inputs keep their order, which is theirs."""
        return self._json

    def to_yaml(self) -> str:
        """The spec as the text of a file, without what is as by default."""
        return written.yaml_text(written.fields_set(self))

    @classmethod
    def from_json(cls, text: str) -> AttentionSpec:
        """The spec that ``canonical_json`` wrote. Raises ``SpecError`` like the constructor."""
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise FieldError([Problem((), f"expected the JSON of a spec: {error}")]) from None
        if not isinstance(fields, dict):
            raise FieldError([Problem((), f"expected the JSON of a spec, a mapping, got {shown(fields)}")])
        return cls(**fields)

    def replace(self, **changes: Any) -> AttentionSpec:
        """This spec with some fields changed, checked anew. Raises ``SpecError``."""
        return type(self)(**{**self.model_dump(exclude_unset=True), **changes})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> AttentionSpec:
        """As ``replace``: a copy is checked like any spec."""
        return self.replace(**update) if update else super().model_copy(deep=deep)

    def __hash__(self) -> int:
        return hash(self._json)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AttentionSpec) and self._json == other._json
