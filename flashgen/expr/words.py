"""The words people come with, from the tools they know, and what is written here instead: one table for the
fields of a spec, the names in its expressions and the keywords of a call."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """What to write instead, one line; ``field``: the field of the spec that takes its place, if any."""

    write: str
    field: str | None = None


_LENGTHS = "`mask: k < lengths[b]`, with `inputs: {lengths: {shape: [batch], dtype: int}}`"
_DOCUMENTS = "`mask: doc[b, k] == doc[b, qpos]`, with `inputs: {doc: {shape: [batch, seqlen_k], dtype: int}}`"
_CAUSAL = Word(
    "write `mask: causal`: the last query sees the last key; `mask: causal_top_left` lets the first see the "
    "first, as torch does where lengths differ",
    "mask",
)
_WINDOW = Word("write `mask: window(255, 0)`: keys before and behind the query's, both inclusive", "mask")
_CAP = Word("write `score: softcap(s, 30.0)`", "score")
_SCALE = Word("write `scale: 0.125`, or leave it out for 1/sqrt(head_dim); `s` is scaled already", "scale")
_SLOPES = Word("write `score: s + alibi(slopes[h])`, with `inputs: {slopes: {shape: [heads]}}`", "score")
_DROPOUT = Word("write `dropout: 0.1` in the spec; a call takes seed= and training=", "dropout")
_HEADS = Word("write `heads: {q: 32, kv: 8}`, or leave it out: a call may have any, grouped or not", "heads")
_HEAD_DIM = Word("write `head_dim: 64`", "head_dim")
_BOOLS = Word(
    "a rule is an expression, such as `mask: causal`; a tensor of booleans is an input and skips no tiles: "
    "`mask: seen[b, h, q, k]`, with "
    "`inputs: {seen: {shape: [batch, heads, seqlen_q, seqlen_k], dtype: bool}}`",
    "mask",
)
_BIAS = Word(
    "write `score: s + bias[h, q, k]`, with `inputs: {bias: {shape: [heads, seqlen_q, seqlen_k]}}`", "score"
)
_PADDING = Word(f"write {_LENGTHS}", "mask")
_PACKED = Word(f"packed sequences are not implemented yet: pad, and write {_LENGTHS}; or {_DOCUMENTS}")
_PAGED = Word(
    "a cache of pages is not implemented yet: pass the cached keys and values as k and v, "
    f"(batch, heads, seqlen, head_dim) with any strides, and write {_LENGTHS}"
)
_BLOCKS = Word("leave it out: which tiles are skipped follows from the mask, such as `mask: causal`", "mask")
_GROUPED = Word("leave it out: query heads share key heads wherever q has a multiple of them")
_SINK = Word("write `sink: sinks[h]`, with `inputs: {sinks: {shape: [heads]}}`", "sink")
_ROW = Word("write `row: sigmoid`, or leave it out for softmax", "row")
_DTYPE = Word("write `dtypes: [fp16, bf16]`, or leave it out for all", "dtypes")
_LSE = Word("leave it out of the spec: a call takes return_lse=True")
_SIZES = Word("leave it out: batch and lengths are those of each call")
_TILES = Word("leave it out: tiles, warps and stages are planned for each GPU; `flashgen tune` measures them")
_ROTARY = Word("rotate q and k before the call")
_SCORE = Word("write it as an expression, `score: softcap(s, 30.0)`", "score")
_MASK = Word("write it as an expression, `mask: causal & (qpos - k < 256)`", "mask")
_DETERMINISTIC = Word("leave it out: results and gradients are summed in one order, always the same bits")

#: Words for fields of a spec, which are tried as names in expressions and keywords of calls too.
WORDS: dict[str, Word] = {
    word: meaning
    for words, meaning in (
        ("causal is_causal causal_mask use_causal_mask autoregressive", _CAUSAL),
        ("window window_size sliding_window local_window local_window_size attention_window", _WINDOW),
        ("softcap soft_cap logit_cap logits_soft_cap attn_logit_softcapping tanh_cap", _CAP),
        ("softmax_scale sm_scale attn_scale scaling scale_factor qk_scale", _SCALE),
        ("alibi alibi_slopes use_alibi slopes", _SLOPES),
        ("dropout_p dropout_rate attn_dropout attention_dropout p_dropout", _DROPOUT),
        ("num_heads n_heads nheads nhead num_attention_heads heads_q num_q_heads", _HEADS),
        ("num_kv_heads n_kv_heads num_key_value_heads num_heads_kv heads_kv", _HEADS),
        ("head_size headdim dim_head d_head head_dimension head_dims embed_dim d_k", _HEAD_DIM),
        ("attn_mask attention_mask mask_tensor", _BOOLS),
        ("attn_bias attention_bias position_bias rel_pos_bias bias", _BIAS),
        ("key_padding_mask padding_mask seq_lens seqlens lengths cache_seqlens seqused_k", _PADDING),
        ("varlen cu_seqlens cu_seqlens_q cu_seqlens_k cu_seqlens_kv cu_seq_lens ragged nested", _PACKED),
        ("max_seqlen_q max_seqlen_k document_ids doc_ids", _PACKED),
        ("page_table block_table block_tables paged paged_kv page_size kv_cache k_cache v_cache", _PAGED),
        ("past_key_values past_key_value", _PAGED),
        ("block_mask blockmask create_block_mask sparsity", _BLOCKS),
        ("enable_gqa gqa mqa num_groups n_rep", _GROUPED),
        ("sinks attention_sink attention_sinks learnable_sink s_aux softmax_offset", _SINK),
        ("attn_activation attention_activation activation attention_type row_function", _ROW),
        ("dtype torch_dtype precision", _DTYPE),
        ("return_lse return_softmax_lse return_attn_probs need_weights", _LSE),
        ("batch batch_size seqlen seq_len seqlen_q seqlen_k max_seq_len max_seqlen", _SIZES),
        ("block_size block_m block_n num_warps num_stages tile_size kernel_options", _TILES),
        ("rope rotary rotary_cos rotary_sin rotary_emb", _ROTARY),
        ("score_mod", _SCORE),
        ("mask_mod", _MASK),
        ("deterministic", _DETERMINISTIC),
    )
    for word in words.split()
}
#: Words for the fields of one input.
OF_INPUTS: dict[str, Word] = {
    word: Word(f"write `{text}`", text.split(":")[0])
    for words, text in (
        ("requires_grad learned trainable learnable", "grad: true"),
        ("type", "dtype: float"),
        ("size dims dimensions", "shape: [heads]"),
    )
    for word in words.split()
}
#: Names inside expressions, and what they are called here.
NAMES: dict[str, str] = {
    "score": "`s`", "q_idx": "`q`", "kv_idx": "`k`", "k_idx": "`k`", "i": "`q`", "j": "`k`", "batch": "`b`",
    "query": "`q`", "key": "`k`", "q_pos": "`qpos`", "query_pos": "`qpos`", "kpos": "`k`", "k_pos": "`k`",
    "kv_pos": "`k`", "b_idx": "`b`", "h_idx": "`h`",
    "head": "`h`", "kv_head": "`hkv`", "seqlen_q": "`Nq`", "seqlen_k": "`Nk`", "q_len": "`Nq`",
    "kv_len": "`Nk`", "pow": "`x ** 2`", "minimum": "`min`", "maximum": "`max`", "fabs": "`abs`",
    "ln": "`log`", "relu": "`max(x, 0)`", "is_causal": "`causal`", "causal_mask": "`causal`",
    "sliding_window": "`window(left, right)`", "window_size": "`window(left, right)`",
    "and_masks": "`a & b`", "or_masks": "`a | b`", "logical_and": "`a & b`", "logical_or": "`a | b`",
    "logical_not": "`~a`", "logical_xor": "`a ^ b`", "bitwise_and": "`a & b`", "bitwise_or": "`a | b`",
    "clamp": "`clip(x, low, high)`", "round": "`floor(x + 0.5)`", "ceil": "`-floor(-x)`", "true": "`True`",
    "false": "`False`", "infinity": "`inf`", "Inf": "`inf`", "pi": "`3.141592653589793`",
    "e": "`2.718281828459045`", "bool": "a comparison, `x != 0`",
    "nan": "left out: it would spread to the whole row",
    "rsqrt": "`1 / sqrt(x)`", "tan": "`sin(x) / cos(x)`", "select": "`where`",
}  # fmt: skip
#: Values that are no text where an expression is wanted, by the name of their type.
VALUES: dict[str, str] = {
    "function": "write its body as text: what is returned, with b, h, q, k for its arguments",
    "partial": "write what it returns as text, with b, h, q, k for its arguments",
    "BlockMask": _BLOCKS.write,
    "Tensor": "an expression reads tensors by index: declare it as an input",
    "ndarray": "an expression reads tensors by index: declare it as an input",
}
#: Element types by their other names.
DTYPES: dict[str, str] = {
    name: short
    for names, short in (
        ("float16 half f16 torch.float16 torch.half", "fp16"),
        ("bfloat16 torch.bfloat16", "bf16"),
        ("float32 float f32 torch.float32 torch.float", "fp32"),
        ("float64 double f64 torch.float64 torch.double", "fp64"),
    )
    for name in names.split()
}
#: The types of an input's elements by the names of dtypes, of which each takes several.
KINDS: dict[str, str] = {
    **dict.fromkeys([*DTYPES, *DTYPES.values()], "float: fp16, bf16 and fp32 tensors all fit"),
    **dict.fromkeys("int32 int64 long torch.int32 torch.int64".split(), "int: int32 and int64 tensors fit"),
    **dict.fromkeys(("boolean", "torch.bool"), "bool"),
}


def instead(word: str) -> str | None:
    """What to write in a spec for ``word``, if it is known."""
    found = WORDS.get(word) or WORDS.get(word.lower())
    return found.write if found else None
