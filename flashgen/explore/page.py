"""The page: data and templates in, one HTML file out that asks nothing of a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from flashgen import __version__
from flashgen.emit.templates import environment


def page(data: Mapping[str, Any]) -> str:
    """The HTML of ``page_data``'s answer."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":  # which would end the element that holds it
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    template = environment("explore").get_template("page.html.j2")
    return template.render(data=data, json=Markup(text), version=__version__)
