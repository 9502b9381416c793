"""``attention``, the function that a user of a generated module calls: the forward alone, or forward and
backward as one ``torch.autograd.Function``.

Which tensors go where follows from the two programs: a backward's arguments are those of its forward, its
results, and for a result ``x`` the gradient that arrives, ``dx`` (of ``o``: ``do``).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from flashgen.ir.names import fresh
from flashgen.ir.program import Program, Tensor

from .layout import fold

#: What the functions look up outside, or define for themselves.
OUTSIDE = frozenset("torch forward backward attention return_lse".split())


def autograd_facts(forward: Program, backward: Program | None = None) -> dict[str, Any] | None:
    """What the template ``autograd.j2`` prints; None for a module of a backward alone."""
    if any(t.role == "saved" for t in forward.tensors):
        return None
    given = [t for t in forward.tensors if t.role not in ("out", "workspace")]
    names = _Names({t.argument or t.name for t in given if t.role == "input"})
    parameters = [names.of(t) for t in given]
    results = [names.of(t) for t in forward.tensors if t.role == "out"]
    inputs = [names.of(t) for t in given if t.role == "input"]
    seed = next((names.of(t) for t in given if t.role == "seed"), None)
    facts: dict[str, Any] = {"parameters": parameters, "results": results, "seed": seed}
    facts["signature"] = [names.of(t) for t in given if t.role in ("q", "k", "v")]
    named = [*inputs, *([seed] if seed else []), *(["return_lse=False"] if results[1:] else [])]
    facts["signature"] += [*(["*"] if named else []), *named]
    facts["given"] = [*results[:2], *("_" for _ in results[2:])]
    facts["returns"] = (
        f"({', '.join(results[:2])}) if return_lse else {results[0]}" if results[1:] else results[0]
    )
    facts |= {"saved": [], "fixed": [names.of(t) for t in given if t.dtype in ("elem", "acc")], "learned": []}
    if backward is not None:
        facts |= _differentiated(names, parameters, results, backward)
        facts["fixed"] = [n for n in facts["fixed"] if n not in facts["learned"]]
    facts["note"] = _note(facts, inputs)
    return facts


class _Names:
    """How the functions call tensors: inputs as the user does, ours beside that."""

    def __init__(self, users: Collection[str]) -> None:
        self.users = {name: fresh(name, OUTSIDE) for name in users}
        self.taken = {*self.users.values(), *OUTSIDE}

    def of(self, t: Tensor) -> str:
        """A tensor of either program; a gradient of an input stands for itself."""
        if t.role == "input":
            return self.users[t.argument or t.name]
        return fresh(t.name, self.taken)


def _differentiated(
    names: _Names, parameters: list[str], results: list[str], backward: Program
) -> dict[str, Any]:
    takes = [t for t in backward.tensors if t.role not in ("out", "workspace")]
    learned = {f"d{t.argument or t.name}": names.of(t) for t in takes if t.role in ("q", "k", "v", "input")}
    made = [t for t in backward.tensors if t.role == "out"]
    of = {learned[t.argument or t.name]: t for t in made}
    given = [names.of(t) for t in takes]
    arriving = [n for n in given if n not in parameters and n not in results]
    ours = {names.of(t): t.name for t in takes}
    # A backward that takes no result has the gradient of the first alone.
    upstream = [next((n for n in arriving if ours[n] == f"d{ours.get(r)}"), "_") for r in results]
    if not ours.keys() & set(results):
        upstream[0] = arriving[0]
    assert set(arriving) <= set(upstream), f"nothing gives a backward its {arriving}"

    def returned(parameter: str) -> str:
        t = of.get(parameter)
        if t is None:
            return "None"
        return names.of(t) if t.dtype == "elem" else f"{names.of(t)}.to({parameter}.dtype)"

    return {
        "saved": [n for n in (*parameters, *results) if n in given],
        "constant": [r for r, arrives in zip(results, upstream, strict=True) if arrives == "_"],
        "upstream": upstream,
        "arriving": arriving,
        "learned": list(of),
        "gradients": [names.of(t) for t in made],
        "backward": given,
        "returned": [returned(n) for n in parameters],
    }


def _note(facts: dict[str, Any], inputs: list[str]) -> str:
    """What ``attention`` gives, in words."""
    out, *left = facts["results"][:2]
    words = f"{out} as of ``forward``" + "".join(f", or ({out}, {lse})" for lse in left)
    if facts["saved"]:
        of = [n for n in facts["parameters"] if n in facts["learned"]]
        constant = f" ({', '.join(facts['constant'])} has no gradient)" if facts["constant"] else ""
        words += f", differentiable by {', '.join(of)}{constant}"
    if facts["seed"]:
        words += f". {facts['seed']}, an int or an int64 tensor of one element, decides what dropout drops"
    return "\n    ".join(fold(f"{words}.", 90))
