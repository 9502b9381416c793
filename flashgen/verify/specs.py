"""Hypothesis strategies: random valid specs, and random cases of a spec.

Specs are drawn from the language's own grammar: masks as conjunctions, disjunctions and negations of
library functions and comparisons, scores as chains of smooth steps (a rounding of ``s`` must not decide
a branch, or plain PyTorch would be as wrong as anyone), inputs of every dtype.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from hypothesis import strategies as st

from flashgen.errors import ExprError, SpecError
from flashgen.expr.library import LIBRARY, Function
from flashgen.expr.parse import parse
from flashgen.expr.scope import MASK_SCOPE
from flashgen.spec.model import AttentionSpec

from .case import Case, added_input
from .inputs import ARRIVING, DISTRIBUTIONS, LAYOUTS
from .run import PLANNED, Tile

#: Lengths on the edges of tiles, small ones first: hypothesis shrinks towards the front.
EDGES = (1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)
HEAD_DIMS = (16, 8, 24, 32, 40, 64, 80, 96, 128)  # the largest draw more time than bugs: see ``wide``
SEEDS = (0, 1, 2**32 - 1, 2**32, 2**63 - 1)
WIDE_HEAD_DIMS = (72, 120, 136, 160, 192, 200, 256)


@dataclass(frozen=True)
class Term:
    """A piece of an expression with the inputs it reads, each (shape, dtype)."""

    text: str
    inputs: tuple[tuple[str, tuple[tuple[str | int, ...], str]], ...] = ()

    def join(self, text: str, *others: Term) -> Term:
        """A larger piece; the inputs of all parts are kept."""
        return Term(text, tuple(dict.fromkeys(sum((o.inputs for o in others), self.inputs))))


def _term(text: str, **inputs: tuple[tuple[str | int, ...], str]) -> Term:
    return Term(text, tuple(inputs.items()))


_MOSTLY = st.sampled_from((True, True, False))
_WIDTHS = st.sampled_from((0, 1, 3, 8, 31, 32, 40))
_STEPS = st.sampled_from((1, 2, 3, 7, 16, 32, 33))


def _is_mask(function: Function) -> bool:
    call = _call(function, [1] * len(function.params))
    try:
        parse(call, MASK_SCOPE, want="bool")
    except ExprError:
        return False
    return True


def _call(function: Function, numbers: Sequence[int]) -> str:
    return f"{function.name}({', '.join(map(str, numbers))})" if function.params else function.name


def _library_mask(draw: st.DrawFn) -> Term:
    function = draw(st.sampled_from(_MASKS))
    return _term(_call(function, [draw(_STEPS) for _ in function.params]))


_MASKS = tuple(f for f in LIBRARY.values() if _is_mask(f))
# A composite is made once, and so is a strategy without arguments: hypothesis parses the source of the
# former, and looks into all of the latter, which takes longer than to draw from them.
_library_masks = st.composite(_library_mask)


#: Atoms of masks: one strategy a line. Every library function that is a mask is among them.
ATOMS: tuple[st.SearchStrategy[Term], ...] = (
    _library_masks(),
    _library_masks(),
    _library_masks(),
    st.builds(lambda n: _term(f"k < {n}"), st.sampled_from((1, 4, 33, 64))),
    st.builds(lambda a, n: _term(f"{a} * k <= qpos + {n}"), st.sampled_from((2, 3)), _WIDTHS),
    st.builds(lambda n, r: _term(f"(k - q) % {n} != {r}"), _STEPS, st.sampled_from((0, 1))),
    st.builds(lambda n, m: _term(f"k // {n} <= qpos // {m}"), _STEPS, _STEPS),
    st.builds(lambda n: _term(f"abs(k - qpos) <= {n}"), _WIDTHS),
    st.builds(lambda n: _term(f"qpos - {n} <= k <= max(qpos, {n})"), _WIDTHS),
    st.just(_term("h % 2 == 0")),
    st.just(_term("k < length[b]", length=(("batch",), "int"))),
    # One bound in two spellings: neither may drop the other.
    st.just(_term("(k < length[b]) | (k < min(length[b], Nk))", length=(("batch",), "int"))),
    st.just(_term("(k <= q + h) | (k <= h + q)")),
    st.just(_term("k >= start[b]", start=(("batch",), "int"))),
    st.just(_term("k <= qpos + ahead", ahead=((), "int"))),
    st.just(_term("qpos - k <= reach[h]", reach=(("heads",), "int"))),
    st.just(
        _term(
            "doc_q[b, q] == doc_k[b, k]",
            doc_q=(("batch", "seqlen_q"), "int"),
            doc_k=(("batch", "seqlen_k"), "int"),
        )
    ),
    st.just(
        _term(
            "(at_k[b, k] <= at_q[b, q]) & (at_q[b, q] - at_k[b, k] < 20)",
            at_q=(("batch", "seqlen_q"), "int"),
            at_k=(("batch", "seqlen_k"), "int"),
        )
    ),
    st.builds(lambda n: _term(f"at_k[b, k] // {n} != h", at_k=(("batch", "seqlen_k"), "int")), _STEPS),
    st.just(_term("(q * 100000000) % 7 <= (k * 100000000) % 7")),
    st.just(_term("k + length[b] < 5", length=(("batch",), "int"))),
    st.just(_term("k < length[b] - 1", length=(("batch",), "int"))),
    st.just(_term("keep[b, k]", keep=(("batch", "seqlen_k"), "bool"))),
    st.just(_term("allowed[h, q, k]", allowed=(("heads", "seqlen_q", "seqlen_k"), "bool"))),
)

#: Bounds by every class of scalar: what a kernel computes before its loops, of which several may meet.
SCALARS: tuple[Term, ...] = (
    _term("k < length[b] - 1", length=(("batch",), "int")),
    _term("qpos - k < reach[h] + 2", reach=(("heads",), "int")),
    _term("k + 1 >= first[hkv] - b", first=(("kv_heads",), "int")),
    _term("k < Nk - 5"),
    _term("k < Nq + h"),
    _term("k * 2 <= Nk + hkv + b"),
    _term("k >= 3"),
)
ATOMS = (*ATOMS, st.sampled_from(SCALARS))

#: Steps of scores: ``{}`` is the score so far.
STEPS: tuple[Term, ...] = (
    _term("softcap({}, 20.0)"),
    _term("{} + alibi(slopes[h])", slopes=(("heads",), "float")),
    _term("{} - 0.03125 * abs(k - qpos)"),
    _term("{} + bias[b, h, q, k]", bias=(("batch", "heads", "seqlen_q", "seqlen_k"), "float")),
    _term("{} + pair[hkv, q, k]", pair=(("kv_heads", "seqlen_q", "seqlen_k"), "float")),
    _term("{} * temperature[b]", temperature=(("batch",), "float")),
    _term("{} * heat", heat=((), "float")),
    _term("{} + table[h, t5_bucket(k - qpos)]", table=(("heads", 32), "float")),
    _term("{} + column[k]", column=(("seqlen_k",), "float")),
    _term("where(k % 2 == 0, {}, 0.5 * {})"),
    _term("where(keep_score[b, q], {}, 0.0)", keep_score=(("batch", "seqlen_q"), "bool")),
    _term("max({}, -3.0)"),
    _term("min({}, 4.0) + 0.25"),
    _term("4.0 * tanh({} / 4.0)"),
    _term("2.0 * sigmoid({})"),
    _term("{} + log(1.0 + k) / (2 + h)"),
    _term("-{}"),
    _term("{} + group[h, k % 4]", group=(("heads", 4), "float")),
)

#: More steps, whose float inputs have gradients that are summed in every way there is.
LEARNED: tuple[Term, ...] = (
    _term("{} + gain[h] * gain[h]", gain=(("heads",), "float")),
    _term("{} * sigmoid(gate[b, h, q])", gate=(("batch", "heads", "seqlen_q"), "float")),
    _term("{} + offset[hkv] * offset[0]", offset=(("kv_heads",), "float")),
    _term("{} + relative[relative_index(5)]", relative=((11,), "float")),
    _term("{} * (1.0 + stretch[h, q // 16])", stretch=(("heads", 16), "float")),
    _term("{} + square[q, k]", square=(("seqlen_q", "seqlen_k"), "float")),
    _term("max({}, lowest[h])", lowest=(("heads",), "float")),
    _term("{} + before[h, k - 1] - before[h, k + 1]", before=(("heads", "seqlen_k"), "float")),
    _term("softcap({} + common[hkv], 10.0)", common=(("kv_heads",), "float")),
)  # fmt: skip

#: Logits without a key.
SINKS: tuple[Term, ...] = (
    _term("sinks[h]", sinks=(("heads",), "float")),
    _term("sinks[h]", sinks=(("heads",), "float")),
    _term("0.5"),
    _term("softcap(3.0 * sinks[h], 2.0) + row_sink[b, q]", sinks=(("heads",), "float"),
          row_sink=(("batch", "seqlen_q"), "float")),
    _term("where(h % 2 == 0, kv_sinks[hkv] - 0.01 * qpos, -inf)", kv_sinks=(("kv_heads",), "float")),
    _term("temperature[b] * log(1.0 + Nk)", temperature=(("batch",), "float")),
)  # fmt: skip

RATES = (0.1, 0.5, 0.9, 0.0625)

#: Last steps, which hide by value: negated or scaled afterwards they would be +inf.
HIDING: tuple[Term, ...] = (
    _term("{} + where(shown[b, k], 0.0, -inf)", shown=(("batch", "seqlen_k"), "bool")),
    _term("where(k % 3 == 1, -3.4e38, {})"),
)


@cache
def masks() -> st.SearchStrategy[Term | None]:
    """No mask, or a random one of a few atoms."""

    def deeper(parts: st.SearchStrategy[Term]) -> st.SearchStrategy[Term]:
        return st.one_of(
            st.builds(lambda a, b: a.join(f"({a.text}) & ({b.text})", b), parts, parts),
            st.builds(lambda a, b: a.join(f"({a.text}) | ({b.text})", b), parts, parts),
            st.builds(lambda a: a.join(f"~({a.text})"), parts),
        )

    return st.one_of(st.none(), st.recursive(st.one_of(*ATOMS), deeper, max_leaves=3))


def _score(draw: st.DrawFn, training: bool = False) -> Term:
    found = Term("s")
    last = draw(st.lists(st.sampled_from(HIDING), max_size=1)) if draw(st.integers(0, 4)) == 4 else []
    known = STEPS + LEARNED if training else STEPS
    for step in draw(st.lists(st.sampled_from(known), max_size=3, unique=True)) + last:
        found = found.join(step.text.replace("{}", f"({found.text})" if found.text != "s" else "s"), step)
    return found


_scores = st.composite(_score)


def scores() -> st.SearchStrategy[Term]:
    """``s`` through up to three steps."""
    return _scores()


@cache
def specs(
    dtypes: tuple[str, ...] = ("fp32", "fp16", "bf16"), wide: bool = False, training: bool = False
) -> st.SearchStrategy[AttentionSpec]:
    """Random valid specs; ``wide`` draws the large head dims instead, ``training`` also sinks, dropout and
    learned inputs."""
    return _specs(dtypes, wide, training)


def _spec(draw: st.DrawFn, dtypes: tuple[str, ...], wide: bool, training: bool) -> AttentionSpec:
    dims = st.sampled_from(WIDE_HEAD_DIMS if wide else HEAD_DIMS)
    d_qk = draw(dims)
    d_v = draw(st.one_of(st.just(d_qk), dims))
    score = _score(draw, training)
    mask = draw(masks())
    sink = draw(st.one_of(st.none(), st.sampled_from(SINKS))) if training else None
    inputs = dict(score.inputs) | dict(mask.inputs if mask else ()) | dict(sink.inputs if sink else ())
    fields: dict[str, Any] = {
        "name": "drawn",
        "head_dim": d_qk if d_qk == d_v else {"qk": d_qk, "v": d_v},
        "dtypes": list(dtypes),
        "scale": draw(st.sampled_from((None, None, 0.125, 1.0, -0.25))),
        "score": score.text,
        "mask": mask.text if mask else None,
        "sink": sink.text if sink else None,
        "dropout": draw(st.one_of(st.just(0.0), st.sampled_from(RATES))) if training else 0.0,
        "inputs": {
            n: {"shape": list(shape), "dtype": dtype, "grad": training and dtype == "float" and draw(_MOSTLY)}
            for n, (shape, dtype) in inputs.items()
        },
    }
    try:
        return AttentionSpec(**{name: value for name, value in fields.items() if value is not None})
    except SpecError as error:  # the one rule a random mask may break
        if "ever sees a key" not in str(error):
            raise
        return AttentionSpec(**{n: x for n, x in fields.items() if x is not None and n != "mask"})


_specs = st.composite(_spec)


def cases(
    spec: AttentionSpec,
    dtypes: tuple[str, ...],
    longest: int = 300,
    tiles: tuple[Tile, ...] = (PLANNED,),
    most_heads: int = 6,
) -> st.SearchStrategy[Case]:
    """Random cases of ``spec``: lengths up to ``longest``, tiles out of ``tiles``, at most ``most_heads``
    query heads unless the spec fixes them."""
    return _cases(spec, dtypes, longest, tiles, most_heads)


def _case(
    draw: st.DrawFn,
    spec: AttentionSpec,
    dtypes: tuple[str, ...],
    longest: int,
    tiles: tuple[Tile, ...],
    most_heads: int,
) -> Case:
    lengths = st.one_of(st.sampled_from([n for n in (*EDGES, 0) if n <= longest]), st.integers(1, longest))
    pairs = [(group * kv, kv) for kv in (1, 2) for group in (1, 2, 3) if group * kv <= most_heads]
    heads, kv_heads = draw(st.sampled_from(pairs))
    if spec.heads is not None:
        heads, kv_heads = spec.heads.q, spec.heads.kv
    n_q = draw(lengths)
    through: st.SearchStrategy[Literal["out", "lse", "both"]] = st.sampled_from(("out", "out", "both", "lse"))
    return Case(
        batch=draw(st.sampled_from((1, 1, 1, 2, 3, 0))),
        heads=heads,
        kv_heads=kv_heads,
        seqlen_q=n_q,
        seqlen_k=draw(st.one_of(st.just(n_q), lengths)),
        dtype=draw(st.sampled_from(dtypes)),
        distribution=draw(st.sampled_from(tuple(DISTRIBUTIONS))),
        layouts=draw(st.tuples(*[st.sampled_from(tuple(LAYOUTS))] * 3)),
        stride0=draw(st.booleans()),
        poison=draw(st.booleans()),
        seed=draw(st.integers(0, 2**16)),
        tile=draw(st.sampled_from(tiles)),
        through=draw(through) if spec.backward else "out",
        dout=draw(st.sampled_from(tuple(ARRIVING))) if spec.backward else "contiguous",
        dropout=draw(st.one_of(st.sampled_from(SEEDS), st.integers(0, 2**63 - 1))) if spec.dropout else 0,
        large=added_input(spec) is not None and draw(st.integers(0, 3)) == 3,
    )


_cases = st.composite(_case)
