"""``attention``, the function that a user of a generated module calls: the forward alone, or forward and
backward as one ``torch.autograd.Function``.

Which tensors go where follows from the two programs: a backward's arguments are those of its forward, its
results, and for a result ``x`` the gradient that arrives, ``dx`` (of ``o``: ``do``).
"""

from __future__ import annotations

from typing import Any

from flashgen.ir.program import Program

from .layout import fold


def autograd_facts(forward: Program, backward: Program | None = None) -> dict[str, Any] | None:
    """What the template ``autograd.j2`` prints; None for a module of a backward alone."""
    if any(t.role == "saved" for t in forward.tensors):
        return None
    given = [t for t in forward.tensors if t.role not in ("out", "workspace")]
    parameters = [t.name for t in given]
    results = [t.name for t in forward.tensors if t.role == "out"]
    inputs = [t.name for t in given if t.role == "input"]
    seed = next((t.name for t in given if t.role == "seed"), None)
    facts: dict[str, Any] = {"parameters": parameters, "results": results, "seed": seed}
    facts["signature"] = [t.name for t in given if t.role in ("q", "k", "v")]
    facts["signature"] += ["*", *inputs, *([seed] if seed else []), "return_lse=False"]
    facts["returns"] = f"({', '.join(results[:2])}) if return_lse else {results[0]}"
    facts |= {"saved": [], "fixed": [t.name for t in given if t.dtype in ("elem", "acc")]}
    if backward is not None:
        facts |= _differentiated(parameters, results, backward)
        facts["fixed"] = [n for n in facts["fixed"] if f"d{n}" not in facts["gradients"]]
    facts["note"] = _note(facts, inputs)
    return facts


def _differentiated(parameters: list[str], results: list[str], backward: Program) -> dict[str, Any]:
    takes = [t.name for t in backward.tensors if t.role not in ("out", "workspace")]
    gradients = {t.name: t.dtype for t in backward.tensors if t.role == "out"}
    arriving = [n for n in takes if n not in parameters and n not in results]
    upstream = [f"d{r}" if f"d{r}" in arriving else "_" for r in results]
    assert set(arriving) <= set(upstream), f"nothing gives a backward its {arriving}"

    def returned(name: str) -> str:
        if f"d{name}" not in gradients:
            return "None"
        return f"d{name}" if gradients[f"d{name}"] == "elem" else f"d{name}.to({name}.dtype)"

    return {
        "saved": [n for n in (*parameters, *results) if n in takes],
        "constant": [r for r in results if f"d{r}" not in arriving],
        "upstream": upstream,
        "arriving": arriving,
        "gradients": list(gradients),
        "backward": takes,
        "returned": [returned(n) for n in parameters],
    }


def _note(facts: dict[str, Any], inputs: list[str]) -> str:
    """What ``attention`` gives, in words."""
    out, lse = facts["results"][:2]
    words = f"{out} as of ``forward``, or ({out}, {lse})"
    if facts["saved"]:
        of = [n for n in facts["parameters"] if f"d{n}" in facts["gradients"]]
        constant = f" ({', '.join(facts['constant'])} has no gradient)" if facts["constant"] else ""
        words += f", differentiable by {', '.join(of)}{constant}"
    if facts["seed"]:
        words += f". {facts['seed']}, an int or an int64 tensor of one element, decides what dropout drops"
    return "\n    ".join(fold(f"{words}.", 90))
