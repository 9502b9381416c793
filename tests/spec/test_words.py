"""Words of other tools, wherever people write them, and that what is written instead is a spec."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import flashgen
from flashgen.errors import SpecError, TensorError
from flashgen.expr.words import DTYPES, NAMES, OF_INPUTS, VALUES, WORDS
from flashgen.spec import AttentionSpec, load_text
from flashgen.spec.model import LATER

ANSWERS = {meaning.write: meaning for meaning in WORDS.values()}


def refused(**fields: Any) -> str:
    with pytest.raises(SpecError) as caught:
        AttentionSpec(**{"name": "words", "head_dim": 64, **fields})
    ((_, said),) = caught.value.problems
    return said


def snippets(text: str) -> list[str]:
    return re.findall(r"`(\w+: [^`]+)`", text)


@pytest.mark.parametrize("answer", [a for a in ANSWERS if snippets(a)])
def test_what_is_written_instead_is_a_spec(answer: str) -> None:
    written = snippets(answer)
    inputs = [re.sub(r"^inputs: \{(.*)\}$", r"  \1", x) for x in written if x.startswith("inputs")]
    for field in (x for x in written if not x.startswith("inputs")):
        lines = ["name: words", "head_dim: 64", field] if "head_dim" not in field else ["name: words", field]
        read = [x for x in inputs if f"{x.split(':')[0].strip()}[" in field]
        assert load_text("\n".join([*lines, *(["inputs:", *read] if read else [])])).name == "words"


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_names_the_field_that_it_writes(answer: str) -> None:
    field = ANSWERS[answer].field
    assert field is None or field in AttentionSpec.model_fields
    assert field is None or re.search(rf"`{field}: ", answer)


def test_no_word_means_something_already() -> None:
    assert not set(WORDS) & (set(AttentionSpec.model_fields) | set(LATER))
    assert not set(NAMES) & {"s", "b", "h", "hkv", "q", "k", "qpos", "Nq", "Nk"}


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("is_causal", "`mask: causal`"),
        ("causal", "`mask: causal`"),
        ("Causal", "`mask: causal`"),
        ("attn_mask", "`mask: seen[b, h, q, k]`"),
        ("window_size", "`mask: window(255, 0)`"),
        ("softmax_scale", "`scale: 0.125`"),
        ("alibi_slopes", "`score: s + alibi(slopes[h])`"),
        ("dropout_p", "`dropout: 0.1`"),
        ("num_heads", "`heads: {q: 32, kv: 8}`"),
        ("varlen", "packed sequences are not implemented yet"),
        ("cu_seqlens", "`mask: k < lengths[b]`"),
        ("page_table", "a cache of pages is not implemented yet"),
        ("block_table", "a cache of pages is not implemented yet"),
        ("kv_cache", "a cache of pages is not implemented yet"),
        ("score_mod", "`score: softcap(s, 30.0)`"),
        ("mask_mod", "`mask: causal"),
        ("block_mask", "leave it out"),
        ("enable_gqa", "leave it out"),
    ],
)
def test_a_word_is_known_as_a_field_and_at_a_call(word: str, says: str) -> None:
    assert says in refused(**{word: True})
    q = torch.ones(1, 1, 3, 64)
    attention: Any = flashgen.compile(AttentionSpec(name="words", head_dim=64))
    with pytest.raises(TensorError) as caught:
        attention(q, q, q, **{word: True})
    assert f"{word} is not an input of words: it takes none. In the spec: " in str(caught.value)
    assert says in str(caught.value)


def test_a_field_is_no_argument_of_a_call() -> None:
    q = torch.ones(1, 1, 3, 64)
    attention: Any = flashgen.compile(AttentionSpec(name="words", head_dim=64))
    with pytest.raises(
        TensorError, match=r"mask is not an input .* it is one of its fields, not an argument"
    ):
        attention(q, q, q, mask=q)


def test_a_required_field_under_another_word_is_one_mistake() -> None:
    with pytest.raises(SpecError) as caught:
        AttentionSpec(name="words", head_size=64)  # type: ignore[call-arg]
    ((_, said),) = caught.value.problems
    assert said == "unknown field 'head_size': write `head_dim: 64`"


def test_a_misspelt_shape_is_one_mistake() -> None:
    assert "did you mean `shape`?" in refused(score="s + w[h]", inputs={"w": {"shap": ["heads"]}})


@pytest.mark.parametrize("word", OF_INPUTS)
def test_words_of_an_input(word: str) -> None:
    entry = {"shape": ["heads"], word: True}
    if OF_INPUTS[word].field == "shape":
        del entry["shape"]
    assert OF_INPUTS[word].write in refused(score="s + w[h]", inputs={"w": entry})


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        ("is_causal", "here it is `causal`"),
        ("kv_idx <= q_idx", "here it is `k`"),
        ("causal(q, k)", "it knows q and k, write `causal` alone"),
        ("q >= k and k > 3", "write `&`"),
        ("q >= k or k > 3", "write `|`"),
        ("not causal", "write `~`"),
        ("abs(q - k) if h > 2 else 3", "`where(c, a, b)`"),
        ("lambda b, h, q, k: q >= k", "write what it returns alone, such as `k <= qpos`"),
        ("torch.abs(q - k) < 3", "write `exp(x)` for `torch.exp(x)`"),
        ("causal & attn_mask", "`mask: seen[b, h, q, k]`"),
        ("logical_and(causal, k < 3)", "here it is `a & b`"),
        ("causal=True", "write `==` to compare"),
    ],
)
def test_words_inside_expressions(mask: str, says: str) -> None:
    assert says in refused(mask=mask)


def test_functions_tensors_and_block_masks_are_no_expressions() -> None:
    def causal(b: int, h: int, q: int, k: int) -> bool:
        return q >= k

    assert VALUES["function"] in refused(mask=causal)
    assert VALUES["function"] in refused(score=lambda s, b, h, q, k: s)
    assert VALUES["Tensor"] in refused(mask=torch.ones(3, 3, dtype=torch.bool))
    assert VALUES["BlockMask"] in refused(mask=type("BlockMask", (SimpleNamespace,), {})())


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_have_other_names(dtype: Any) -> None:
    (short,) = AttentionSpec(name="words", head_dim=64, dtypes=[dtype]).dtypes
    assert short == DTYPES[str(dtype)]
    assert "listed twice" in refused(dtypes=[dtype, short])


def test_the_elements_of_an_input_are_no_dtype() -> None:
    def said(dtype: Any) -> str:
        return refused(score="s + w[h]", inputs={"w": {"shape": ["heads"], "dtype": dtype}})

    assert "got 'bfloat16': write float: fp16, bf16 and fp32 tensors all fit" in said("bfloat16")
    assert "got 'torch.float32': write float" in said(torch.float32)
    assert "write int: int32 and int64 tensors fit" in said("int64")
