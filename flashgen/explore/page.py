"""The page: data and templates in, one HTML file out that asks nothing of a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from flashgen import __version__
from flashgen.templates import environment

#: What every page shares: colours, tables, charts (``templates/page``).
SHARED = "page"


def page(data: Mapping[str, Any]) -> str:
    """The HTML of ``page_data``'s answer."""
    template = environment("explore", SHARED).get_template("page.html.j2")
    return template.render(data=data, json=embedded(data), version=__version__)


def embedded(data: Any) -> Markup:
    """``data`` as JSON that may stand in a ``script`` element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":  # which would end the element that holds it
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)
