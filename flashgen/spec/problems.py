"""Problems of a spec before they have a place in a file: the path of a field, and where in its text.

Pydantic finds what is wrong with one field; its wording is replaced here by ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from flashgen.errors import Place, SpecError
from flashgen.expr.words import OF_INPUTS, WORDS, Word

from .fields import close, nearest, shown

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """What is wrong at ``path``: at its key when ``at_key``, ``offset`` characters into its text."""

    path: Path
    text: str
    offset: int | None = None
    at_key: bool = False


class FieldError(SpecError):
    """A ``SpecError`` that keeps its problems as paths, for the loader to place."""

    def __init__(self, details: list[Problem]) -> None:
        self.details = details
        super().__init__([(Place(field=where(p)), p.text) for p in details])


def where(problem: Problem) -> str:
    """The path as people write it: ``inputs.slopes.shape[0]``, with the character for expressions."""
    out = ""
    for step in problem.path:
        out += f"[{step}]" if isinstance(step, int) else f".{step}" if out else str(step)
    return out if problem.offset is None else f"{out}, character {problem.offset + 1}"


def raise_problems(problems: Iterable[Problem]) -> NoReturn:
    """Hand the problems of a whole model to pydantic, which returns them to ``found_by_pydantic``."""
    raise PydanticCustomError("problems", "the spec is not sound", {"problems": list(problems)})


def was_checked_whole(error: ValidationError) -> bool:
    """True when each field was sound by itself, so that the checks between fields have run."""
    return any(e["type"] == "problems" for e in error.errors(include_url=False))


def found_by_pydantic(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """The problems in a pydantic error about ``model``, in our words."""
    found: list[Problem] = []
    errors = [(_path(e["loc"]), e) for e in error.errors(include_url=False)]
    # A required field that is there under a wrong name is one mistake, not two.
    unknown = [path for path, e in errors if e["type"] == "extra_forbidden"]
    meant = {(*path[:-1], near) for path in unknown for near in _near(path, model)}
    for path, e in errors:
        match e["type"]:
            case "problems":
                found += e["ctx"]["problems"]
            case "spec":
                found.append(Problem(path, e["msg"]))
            case "missing":
                if path not in meant:
                    found.append(Problem(path, f"the field `{path[-1]}` is required"))
            case "extra_forbidden":
                found.append(Problem(path, _unknown(path, model), at_key=True))
            case "model_type" | "model_attributes_type" | "dict_type":
                fields = fields_at(path, model)
                hint = f" with the fields {', '.join(fields)}" if fields else ""
                found.append(Problem(path, f"expected a mapping{hint}, got {shown(e['input'])}"))
            case _:
                found.append(Problem(path, f"{e['msg']}, got {shown(e['input'])}"))
    return list(dict.fromkeys(found))


def fields_at(path: Path, model: type[BaseModel]) -> list[str]:
    """The fields that the mapping at ``path`` can have, none where names are free."""
    if not path:
        return [name for name, field in model.model_fields.items() if not _later(field)]
    part = _parts().get((str(path[0]), len(path)))
    return list(part.model_fields) if part else []


def _parts() -> dict[tuple[str, int], type[BaseModel]]:
    from .model import HeadDims, Heads, InputSpec

    return {("head_dim", 1): HeadDims, ("heads", 1): Heads, ("inputs", 2): InputSpec}


def _later(field: FieldInfo) -> bool:
    return field.json_schema_extra == {"type": "null"}


def _path(loc: Path) -> Path:
    """Where pydantic found it: a head dim is a number or a mapping, and which was tried stands second."""
    return loc[:1] + loc[2:] if loc[:1] == ("head_dim",) else loc


def _near(path: Path, model: type[BaseModel]) -> list[str]:
    """The field that an unknown one is meant to be, if its word is known or one is close."""
    if word := _word(path):
        return [word.field] if word.field else []
    return close(str(path[-1]), fields_at(path[:-1], model))


def _word(path: Path) -> Word | None:
    """What an unknown field is called here."""
    known = {1: WORDS, 3: OF_INPUTS}.get(len(path), {}) if path[0] == "inputs" or len(path) == 1 else {}
    name = str(path[-1])
    return known.get(name) or known.get(name.lower())


def _unknown(path: Path, model: type[BaseModel]) -> str:
    name, fields = str(path[-1]), fields_at(path[:-1], model)
    if word := _word(path):
        return f"unknown field {shown(name)}: {word.write}"
    near = nearest(name, fields)
    return f"unknown field {shown(name)}{near or '; known: ' + ', '.join(fields)}"


def not_by_name(given: Any) -> Problem:
    """What is said of a spec made from a value without a field's name."""
    how = 'AttentionSpec(name="my_attention", head_dim=64)'
    if isinstance(given, dict):
        how = "AttentionSpec(**fields)"
    elif isinstance(given, str):
        how += "; flashgen.compile takes the path of a YAML file"
    return Problem((), f"a spec's fields are given by name, got {shown(given)}: write {how}")


def clean(value: Any) -> Any:
    """A deep copy of plain data, so that it can be mended without touching the caller's."""
    if isinstance(value, dict):
        return {k: clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(v) for v in value]
    return value
