"""The one Jinja environment of flashgen: a template gets finished facts and places them."""

from __future__ import annotations

from functools import cache

import jinja2

from flashgen.resources import folder


@cache
def environment(*names: str) -> jinja2.Environment:
    """The templates of ``templates/NAME`` for each name; an undefined name is an error, texts in HTML are
    escaped."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder("templates") / name for name in names]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=jinja2.select_autoescape(["html.j2"], default=False),
    )
