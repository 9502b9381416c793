"""Hypothesis strategies: random valid specs, and random cases of a spec.

Specs are drawn from the language's own grammar: masks as conjunctions, disjunctions and negations of
library functions and comparisons, scores as chains of smooth steps (a rounding of ``s`` must not decide
a branch, or plain PyTorch would be as wrong as anyone), inputs of every dtype.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from hypothesis import strategies as st

from flashgen.errors import SpecError
from flashgen.spec.model import AttentionSpec
from flashgen.spec.weights import ROWS, WEIGHTS, Row

from .atoms import ATOMS, Term, term
from .case import Case, added_input
from .inputs import ARRIVING, DISTRIBUTIONS, LAYOUTS
from .run import PLANNED, Tile

#: Lengths on the edges of tiles, small ones first: hypothesis shrinks towards the front.
EDGES = (1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)
HEAD_DIMS = (16, 8, 24, 32, 40, 64, 80, 96, 128)  # the largest draw more time than bugs: see ``wide``
SEEDS = (0, 1, 2**32 - 1, 2**32, 2**63 - 1)
WIDE_HEAD_DIMS = (72, 120, 136, 160, 192, 200, 256)


_MOSTLY = st.sampled_from((True, True, False))

#: Steps of scores: ``{}`` is the score so far.
STEPS: tuple[Term, ...] = (
    term("softcap({}, 20.0)"),
    term("{} + alibi(slopes[h])", slopes=(("heads",), "float")),
    term("{} - 0.03125 * abs(k - qpos)"),
    term("{} + bias[b, h, q, k]", bias=(("batch", "heads", "seqlen_q", "seqlen_k"), "float")),
    term("{} + pair[hkv, q, k]", pair=(("kv_heads", "seqlen_q", "seqlen_k"), "float")),
    term("{} * temperature[b]", temperature=(("batch",), "float")),
    term("{} * heat", heat=((), "float")),
    term("{} + table[h, t5_bucket(k - qpos)]", table=(("heads", 32), "float")),
    term("{} + column[k]", column=(("seqlen_k",), "float")),
    term("where(k % 2 == 0, {}, 0.5 * {})"),
    term("where(keep_score[b, q], {}, 0.0)", keep_score=(("batch", "seqlen_q"), "bool")),
    term("max({}, -3.0)"),
    term("min({}, 4.0) + 0.25"),
    term("4.0 * tanh({} / 4.0)"),
    term("2.0 * sigmoid({})"),
    term("{} + log(1.0 + k) / (2 + h)"),
    term("-{}"),
    term("{} + group[h, k % 4]", group=(("heads", 4), "float")),
)

#: More steps, whose float inputs have gradients that are summed in every way there is.
LEARNED: tuple[Term, ...] = (
    term("{} + gain[h] * gain[h]", gain=(("heads",), "float")),
    term("{} * sigmoid(gate[b, h, q])", gate=(("batch", "heads", "seqlen_q"), "float")),
    term("{} + offset[hkv] * offset[0]", offset=(("kv_heads",), "float")),
    term("{} + relative[relative_index(5)]", relative=((11,), "float")),
    term("{} * (1.0 + stretch[h, q // 16])", stretch=(("heads", 16), "float")),
    term("{} + square[q, k]", square=(("seqlen_q", "seqlen_k"), "float")),
    term("max({}, lowest[h])", lowest=(("heads",), "float")),
    term("{} + before[h, k - 1] - before[h, k + 1]", before=(("heads", "seqlen_k"), "float")),
    term("softcap({} + common[hkv], 10.0)", common=(("kv_heads",), "float")),
)  # fmt: skip

#: Logits without a key.
SINKS: tuple[Term, ...] = (
    term("sinks[h]", sinks=(("heads",), "float")),
    term("sinks[h]", sinks=(("heads",), "float")),
    term("0.5"),
    term("softcap(3.0 * sinks[h], 2.0) + row_sink[b, q]", sinks=(("heads",), "float"),
          row_sink=(("batch", "seqlen_q"), "float")),
    term("where(h % 2 == 0, kv_sinks[hkv] - 0.01 * qpos, -inf)", kv_sinks=(("kv_heads",), "float")),
    term("temperature[b] * log(1.0 + Nk)", temperature=(("batch",), "float")),
)  # fmt: skip

RATES = (0.1, 0.5, 0.9, 0.0625)

#: Last steps, which hide by value: negated or scaled afterwards they would be +inf.
HIDING: tuple[Term, ...] = (
    term("{} + where(shown[b, k], 0.0, -inf)", shown=(("batch", "seqlen_k"), "bool")),
    term("where(k % 3 == 1, -3.4e38, {})"),
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
    dtypes: tuple[str, ...] = ("fp32", "fp16", "bf16"),
    wide: bool = False,
    training: bool = False,
    rows: tuple[Row, ...] = ROWS,
) -> st.SearchStrategy[AttentionSpec]:
    """Random valid specs; ``wide`` draws the large head dims instead, ``training`` also sinks, dropout and
    learned inputs, and of row functions ``rows``, the first more often."""
    return _specs(dtypes, wide, training, rows)


def _spec(
    draw: st.DrawFn, dtypes: tuple[str, ...], wide: bool, training: bool, rows: tuple[Row, ...]
) -> AttentionSpec:
    dims = st.sampled_from(WIDE_HEAD_DIMS if wide else HEAD_DIMS)
    d_qk = draw(dims)
    d_v = draw(st.one_of(st.just(d_qk), dims))
    score = _score(draw, training)
    mask = draw(masks())
    row = draw(st.sampled_from((*rows[:1] * len(rows), *rows)))
    sinks = training and WEIGHTS[row].sink
    sink = draw(st.one_of(st.none(), st.sampled_from(SINKS))) if sinks else None
    inputs = dict(score.inputs) | dict(mask.inputs if mask else ()) | dict(sink.inputs if sink else ())
    fields: dict[str, Any] = {
        "name": "drawn",
        "head_dim": d_qk if d_qk == d_v else {"qk": d_qk, "v": d_v},
        "dtypes": list(dtypes),
        "scale": draw(st.sampled_from((None, None, 0.125, 1.0, -0.25))),
        "score": score.text,
        "row": row,
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
