"""``flashgen new``: a commented spec to start from."""

from __future__ import annotations

from pathlib import Path

import typer

from flashgen.errors import FlashgenError
from flashgen.spec.names import spec_name_problem

from .console import out

TEMPLATE = """\
# yaml-language-server: $schema=schema.json
# Editors complete and check with it: `flashgen schema -o schema.json` writes it, beside this file.
#
# What one attention computes:  out = softmax(score where mask, else -inf) v
# Check it:    flashgen check {name}.yaml
# Try it:      flashgen verify {name}.yaml
name: {name}
description: Say in one line what this attention is
source: "" # the paper and section, or the model, it comes from

# A multiple of 8 from 8 to 256, or {{qk: 192, v: 128}} where values differ from queries and keys.
head_dim: 64

# Any number of heads fits, Hq being a multiple of Hkv. To fix it:
# heads: {{q: 32, kv: 8}}

# The dot product is multiplied by 1/sqrt(head_dim). To choose it yourself:
# scale: 0.125

# Tensors given at each call, read by index in the expressions below. A size is batch, heads, kv_heads,
# seqlen_q, seqlen_k or a number; a dtype is float, int or bool. `grad: true`: a float that is learned.
inputs:
  slopes: {{shape: [heads], grad: true}}
  lengths: {{shape: [batch], dtype: int}}

# Numbers that are part of the kernel.
constants:
  left: 1023

# What softmax sees, or with `row: sigmoid` a sigmoid. Variables: s (the scaled dot product), b, h, hkv (batch
# and heads), q, k (rows), qpos (the query's position: the last query stands at the last key), Nq, Nk.
# Functions: where min max abs exp log tanh sigmoid ..., and the library: softcap(x, cap), alibi(slope) ...
score: s + alibi(slopes[h])

# True where a query sees a key; joined with & | ~. The library: causal, window(left, right), prefix(n),
# padding(length), chunked(size) ... Comparisons need parentheses: (k < 4) | causal.
mask: window(left, 0) & padding(lengths[b])

# A logit of each row that no key has: it joins the softmax's denominator, and is learned if its input is.
# sink: sinks[h]

# The probability with which an attention weight is dropped in training; see docs/dropout.md. A call takes
# seed=1234 to drop the same again, and training=False to drop nothing.
# dropout: 0.1

# The backward follows from the above. false keeps the spec to inference.
# backward: false
"""


def command(name: str = typer.Argument(..., help="Names the spec and its file, NAME.yaml.")) -> None:
    """Write NAME.yaml: a sound, commented spec to start from."""
    if problem := spec_name_problem(name):
        raise FlashgenError(problem)
    path = Path(f"{name}.yaml")
    text = TEMPLATE.format(name=name)
    try:
        with path.open("x", encoding="utf-8") as file:  # x: never over a file that exists
            file.write(text)
    except FileExistsError:
        raise FlashgenError(f"{path} exists already and is left as it is; choose another name") from None
    except OSError as error:
        raise FlashgenError(f"{path} cannot be written: {error.strerror}") from None
    out().print(f"wrote {path}; next: flashgen check {path}", markup=False)
