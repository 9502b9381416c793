"""What must hold between the fields of a spec: heads that divide, names that are free, expressions that
are in the language and read inputs by the right indices, a mask that can be true."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import BaseModel, ValidationError

from flashgen.errors import ExprError
from flashgen.expr import messages
from flashgen.expr.build import magnitude, too_large
from flashgen.expr.limits import INT_LIMIT
from flashgen.expr.nodes import Const, Expr, Read, Type, Var, reads
from flashgen.expr.parse import parse
from flashgen.expr.scope import MASK_SCOPE, SCORE_SCOPE, SINK_SCOPE, InputType, Scope
from flashgen.expr.text import to_text

from . import learned
from .names import spec_name_problem, value_name_problem
from .problems import Problem, clean, found_by_pydantic
from .visible import never_true
from .weights import ROWS, WEIGHTS

if TYPE_CHECKING:
    from .model import AttentionSpec, InputSpec

MOST_INPUTS = 16
MOST_CONSTANTS = 64

EXPRESSIONS = ("score", "mask", "sink")
#: Which size bounds which index: index variable -> the symbols of dimensions it may address.
_FITS = {
    "b": ("batch",),
    "h": ("heads",),
    "hkv": ("kv_heads", "heads"),  # Hkv <= Hq
    "q": ("seqlen_q",),
    "k": ("seqlen_k",),
}
_INDEX_OF = {"batch": "b", "heads": "h", "kv_heads": "hkv", "seqlen_q": "q", "seqlen_k": "k"}


#: The score, the mask and the sink of a spec, parsed.
Parsed: TypeAlias = tuple[Expr, Expr | None, Expr | None]


def check(spec: AttentionSpec) -> tuple[Parsed | None, list[Problem]]:
    """The parsed expressions of a spec whose fields are each sound, and what is wrong with it."""
    problems = _names(spec) + _heads(spec) + _row(spec) + _later(spec)
    score = _expression(spec, "score", spec.score, SCORE_SCOPE, "float", problems)
    mask = sink = None
    if spec.mask is not None:
        mask = _expression(spec, "mask", spec.mask, MASK_SCOPE, "bool", problems)
    if spec.sink is not None:
        sink = _expression(spec, "sink", spec.sink, SINK_SCOPE, "float", problems)
    problems += _indices(spec, {"score": score, "mask": mask, "sink": sink})
    if mask is not None and not problems and never_true(mask):
        problems.append(
            Problem(("mask",), "no query ever sees a key: the mask is false for all lengths, q and k")
        )
    garbled = (mask is None) != (spec.mask is None) or (sink is None) != (spec.sink is None)
    if score is None or garbled:  # what its inputs are for is not known
        return None, problems
    return (score, mask, sink), problems + learned.problems(spec, score, mask, sink)


def _names(spec: AttentionSpec) -> list[Problem]:
    found = []
    if text := spec_name_problem(spec.name):
        found.append(Problem(("name",), text))
    for field, names, most in (
        ("constants", spec.constants, MOST_CONSTANTS),
        ("inputs", spec.inputs, MOST_INPUTS),
    ):
        if len(names) > most:
            found.append(Problem((field,), f"at most {most} {field}, got {len(names)}"))
        for name in names:
            if text := value_name_problem(name):
                found.append(Problem((field, name), text, at_key=True))
    for name in spec.inputs:
        if name in spec.constants:
            text = f"`{name}` is a constant already; an input needs a name of its own"
            found.append(Problem(("inputs", name), text, at_key=True))
    return found


def _heads(spec: AttentionSpec) -> list[Problem]:
    if spec.heads is None or spec.heads.q % spec.heads.kv == 0:
        return []
    q, kv = spec.heads.q, spec.heads.kv
    below = [n for n in range(1, min(kv, q) + 1) if q % n == 0][-1:]
    above = [n for n in range(kv, q + 1) if q % n == 0][:1]
    text = f"{q} query heads cannot share {kv} key/value heads evenly: q must be a multiple of kv; "
    return [Problem(("heads", "kv"), text + f"kv: {' or '.join(map(str, below + above))} would work")]


def _row(spec: AttentionSpec) -> list[Problem]:
    """What is asked of a row function that it does not have."""
    has = WEIGHTS[spec.row]
    alone = "weights are divided by: here each pair is weighed by itself"
    found = []
    if "lse" in spec.outputs and "lse" not in has.left:
        others = _rows(name for name in ROWS if "lse" in WEIGHTS[name].left)
        text = f"lse is the logarithm of the sum that {alone}; write `outputs: [out]`, or {others}"
        found.append(Problem(("outputs",), text))
    if spec.sink is not None and not has.sink:
        others = _rows(name for name in ROWS if WEIGHTS[name].sink)
        text = f"a sink joins the sum that {alone}; leave `sink` out, or write {others}"
        found.append(Problem(("sink",), text))
    return found


def _rows(names: Iterable[str]) -> str:
    return " or ".join(f"`row: {name}`" for name in names)


def _later(spec: AttentionSpec) -> list[Problem]:
    from .model import LATER

    return [
        Problem((field,), f"{why}; leave the field out", at_key=True)
        for field, why in LATER.items()
        if getattr(spec, field) is not None
    ]


def _expression(
    spec: AttentionSpec, field: str, text: str, base: Scope, want: Type, problems: list[Problem]
) -> Expr | None:
    """``text`` parsed; None, with a problem noted, when it is not in the language."""
    scope = Scope(
        variables=base.variables,
        inputs={n: InputType(len(t.shape), t.dtype) for n, t in spec.inputs.items()},
        constants=dict(spec.constants),
    )
    try:
        expr = parse(text, scope, want=want)
    except ExprError as error:
        problems.append(Problem((field,), error.message, error.offset))
        return None
    if (large := too_large(expr)) is not None:
        shown = to_text(large)
        says = messages.too_large(shown, magnitude(large))
        problems.append(Problem((field,), says, max(text.find(shown), 0)))
        return None
    return expr


def _indices(spec: AttentionSpec, exprs: Mapping[str, Expr | None]) -> list[Problem]:
    """What is wrong with the indices by which inputs are read."""
    found = []
    by_field = [(field, r) for field, e in exprs.items() if e is not None for r in reads(e)]
    used = {(r.name, i, x.name) for _, r in by_field for i, x in enumerate(r.index) if isinstance(x, Var)}
    for field, read in by_field:
        for axis in range(len(read.index)):
            if wrong := _index_problem(read, spec.inputs[read.name], axis, used):
                at = re.search(rf"\b{re.escape(read.name)}\s*\[", getattr(spec, field))
                found.append(Problem((field,), wrong, at.start() if at else 0))
    return found


def _index_problem(read: Read, tensor: InputSpec, axis: int, used: set[tuple[str, int, str]]) -> str | None:
    """What is wrong with one index; ``used`` are all plain indices: input, dimension, variable."""
    name, size, index = read.name, tensor.shape[axis], read.index[axis]
    if isinstance(index, Const):
        if index.value < 0:
            return f"`{name}` is read at {index.value}: an index starts at 0"
        if isinstance(size, int) and index.value >= size:
            return f"`{name}` is read at {index.value}, past its size {size} (dimension {axis})"
    if isinstance(index, Var) and isinstance(size, str) and size not in _FITS.get(index.name, (size,)):
        wrong = f"`{name}` is read by `{index.name}` where its dimension {axis} is {size}"
        both = (name, axis, _INDEX_OF[size]) in used
        if {index.name, _INDEX_OF[size]} == {"q", "k"} and (both or index.name == "q"):
            return f"{wrong}: {_at_position(read, tensor, axis, both)}"
        return f"{wrong}: use `{_INDEX_OF[size]}` there, or make the dimension {_FITS[index.name][0]}"
    return None


def _at_position(read: Read, tensor: InputSpec, axis: int, both: bool) -> str:
    """How an input is read at the positions of queries; ``both``: it is read at those of keys too."""
    at = (*read.index[:axis], Var("qpos", "int"), *read.index[axis + 1 :])
    write = f"write `{to_text(Read(read.name, at, read.type))}` for the query's own position"
    if tensor.shape[axis] != "seqlen_k":
        write = f"make the dimension seqlen_k, and {write}"
    if not both:
        return f"{write}, use `k` there, or make the dimension seqlen_q"
    each = []
    for end in ("q", "k"):
        shape = (*tensor.shape[:axis], f"seqlen_{end}", *tensor.shape[axis + 1 :])
        each.append(f"`{read.name}_{end}: {{shape: [{', '.join(map(str, shape))}], dtype: {tensor.dtype}}}`")
    return f"{write}, or declare an input for each, {' and '.join(each)}"


def of_the_sound_part(
    fields: Mapping[str, Any], problems: list[Problem], model: type[BaseModel]
) -> list[Problem]:
    """What else is wrong once the fields in ``problems`` are mended, so that one run reports all.

    A wrong field is dropped or replaced by a harmless one. An expression that uses a wrong input or
    constant is left alone: an error there could be the echo of the first. Whether a learned input is read
    is not asked then.
    """
    mended = clean(dict(fields))
    broken = {name for p in problems if (name := _mend(mended, p))}
    for field in EXPRESSIONS:
        if broken & set(re.findall(r"\w+", str(mended.get(field, "")))):
            mended.pop(field, None)
    if any(field in fields and field not in mended for field in EXPRESSIONS):
        _none_learned(mended)
    mended.setdefault("name", "unnamed")
    mended.setdefault("head_dim", 64)
    try:
        model.__pydantic_validator__.validate_python(mended, self_instance=model.__new__(model))
    except ValidationError as error:
        return [p for p in found_by_pydantic(error, model) if p not in problems]
    return []


def _none_learned(data: dict[str, Any]) -> None:
    """Take back the gradients that only a whole spec can promise or refuse."""
    inputs = data.get("inputs")
    for entry in inputs.values() if isinstance(inputs, dict) and data.get("backward", True) else ():
        if isinstance(entry, dict) and entry.get("dtype", "float") == "float":
            entry.pop("grad", None)


def _mend(data: dict[str, Any], problem: Problem) -> str | None:
    """Take what is wrong out of ``data``; the name of an input or constant that is lost by it."""
    match problem.path:
        case ("inputs" | "constants" as field, str(name), *rest) if isinstance(data.get(field), dict):
            entry = data[field].get(name)
            if isinstance(entry, dict):
                if problem.at_key:  # an unknown field of a known input
                    entry.pop(rest[0], None)
                    if "shape" in entry:
                        return None
                if rest[:1] == ["shape"] and len(rest) == 2:
                    entry["shape"][rest[1]] = INT_LIMIT - 1  # its rank, at least, is known
                    return None
            data[field].pop(name, None)
            return name
        case (str(field), *_):
            data.pop(field, None)
    return None
