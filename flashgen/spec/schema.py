"""The JSON Schema of a spec, for editors: completion, descriptions on hover, and checks while typing.

It holds what can be said of one field at a time; ``flashgen check`` says the rest.
"""

from __future__ import annotations

import json
from typing import Any

from .fields import TEXT_LIMIT
from .model import MOST_DIMS, AttentionSpec


def json_schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12) as a dictionary."""
    schema = AttentionSpec.model_json_schema()
    _plain(schema)
    fields = schema["properties"]
    fields["name"]["pattern"] = "^[a-z][a-z0-9_]{0,47}$"
    for field in ("constants", "inputs"):
        fields[field]["propertyNames"] = {"pattern": "^[A-Za-z][A-Za-z0-9_]{0,31}$"}
    for field in ("description", "source", "score", "mask", "sink"):
        fields[field]["maxLength"] = TEXT_LIMIT
    schema["$defs"]["InputSpec"]["properties"]["shape"] |= {"minItems": 0, "maxItems": MOST_DIMS}
    for field in ("dtypes", "outputs"):
        fields[field] |= {"minItems": 1, "uniqueItems": True}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "flashgen attention spec",
        **schema,
    }


def schema_text() -> str:
    """The schema as it is written to a file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _plain(node: Any) -> None:
    """Drop the titles pydantic makes of names: they say nothing that the names do not. Editors show
    descriptions as Markdown, where code has single quotes."""
    if isinstance(node, dict):
        if isinstance(node.get("title"), str):
            del node["title"]
        if isinstance(node.get("description"), str):
            node["description"] = node["description"].replace("``", "`").replace("\n", " ")
        for value in node.values():
            _plain(value)
    elif isinstance(node, list):
        for value in node:
            _plain(value)
