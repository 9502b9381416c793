"""Runs generated modules in Triton's interpreter: a process of its own, which can do nothing else.

Reads JSON lines {module, call: {B, Hq, Hkv, Nq, Nk, d_qk, d_v, inputs, dtype, seed}} from standard input;
saves (arguments, results) beside each module.
"""

import importlib.util
import json
import os
import sys
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"

import torch


def tensors(call: dict[str, Any]) -> list[torch.Tensor]:
    """Arguments of a call: q is a transposed view, k a slice, inputs as their types ask."""
    torch.manual_seed(call["seed"])
    B, Hq, Hkv, Nq, Nk = (call[n] for n in ("B", "Hq", "Hkv", "Nq", "Nk"))
    dtype = getattr(torch, call["dtype"])
    q = torch.randn(B, Nq, Hq, call["d_qk"]).to(dtype).transpose(1, 2)
    k = torch.randn(B, Hkv, Nk + 3, call["d_qk"]).to(dtype)[:, :, 2 : Nk + 2]
    v = torch.randn(B, Hkv, Nk, call["d_v"]).to(dtype)
    sizes = {"batch": B, "heads": Hq, "kv_heads": Hkv, "seqlen_q": Nq, "seqlen_k": Nk}
    inputs = []
    for shape, kind in call["inputs"]:
        dims = [sizes.get(d, d) for d in shape]
        if kind == "float":
            inputs.append(torch.randn(dims[-1:]).expand(dims))  # stride 0 along all but the last dim
        elif kind == "int":
            inputs.append(torch.randint(0, max(Nk // 8, 2), dims, dtype=torch.int64))
        else:
            inputs.append(torch.rand(dims) > 0.3)
    return [q, k, v, *inputs]


def main() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        job = json.loads(line)
        place = importlib.util.spec_from_file_location("generated", job["module"])
        assert place is not None
        assert place.loader is not None
        module = importlib.util.module_from_spec(place)
        place.loader.exec_module(module)
        arguments = tensors(job["call"])
        torch.save((arguments, module.forward(*arguments)), job["module"] + ".pt")


if __name__ == "__main__":
    main()
