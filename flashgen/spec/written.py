"""A spec written out again: as Python (``repr``), as YAML, and its fields as a signature that reads."""

from __future__ import annotations

import inspect
import json
import operator
import re
import types
from collections.abc import Mapping
from functools import reduce
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from . import yamltree


def signature_of(model: type[BaseModel], hidden: Mapping[str, str]) -> inspect.Signature:
    """The fields of ``model`` but those ``hidden``, with plain types and defaults: validators are not part
    of what a field is."""
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty
            if f.is_required()
            else f.get_default(call_default_factory=True, validated_data={}),
            annotation=plain_type(f.annotation),
        )
        for name, f in model.model_fields.items()
        if name not in hidden
    ]
    return inspect.Signature(parameters)


def plain_type(t: Any) -> Any:
    """``t`` without what stands in ``Annotated``."""
    if get_origin(t) is Annotated:
        return plain_type(get_args(t)[0])
    parts = tuple(plain_type(a) for a in get_args(t))
    if get_origin(t) in (Union, types.UnionType):
        return reduce(operator.or_, parts)
    return types.GenericAlias(get_origin(t), parts) if isinstance(t, types.GenericAlias) else t


def fields_set(model: BaseModel) -> dict[str, Any]:
    """The fields that were set and differ from their defaults, as the constructor takes them: plain data."""
    return model.model_dump(mode="json", exclude_defaults=True, exclude_unset=True)


def yaml_text(fields: Mapping[str, Any]) -> str:
    """YAML whose reading gives ``fields`` back: a line a field, and a line an entry of a mapping of mappings
    or of constants."""
    lines = []
    for name, value in fields.items():
        if isinstance(value, dict) and name in ("inputs", "constants"):
            lines += [f"{name}:", *(f"  {key}: {_flow(entry)}" for key, entry in value.items())]
        else:
            lines.append(f"{name}: {_scalar(value) if isinstance(value, str) else _flow(value)}")
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and re.fullmatch(r"\w+", value):
        return _scalar(value)
    return json.dumps(value, ensure_ascii=False)  # JSON's numbers and strings are YAML's


def _scalar(text: str) -> str:
    """Text as it is where it reads as itself, else in quotes."""
    tree = yamltree.read(f"x: {text}\n")
    items = tree.root.items if isinstance(tree.root, yamltree.Mapping) else ()
    values = [value.value for _, value in items if isinstance(value, yamltree.Scalar)]
    same = values == [text] and len(items) == 1 and not tree.problems and "\n" not in text
    return text if same else json.dumps(text, ensure_ascii=False)
