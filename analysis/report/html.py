"""HTML from data: everything is escaped unless it is `Html`, which only this module and its callers' tags make."""

import base64
import json
import re
import unicodedata
from typing import Any

from analysis.plain_text import spell_out

VOID = {"meta", "link", "input", "br", "img", "col"}
SCRIPT = {"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"}


class Html(str):
    """Markup that is escaped already."""


def escape(value: object) -> Html:
    """Any value as text of an element or of a quoted attribute; Html stays as it is."""
    if isinstance(value, Html):
        return value
    text = spell_out(value)
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;")):
        text = text.replace(character, entity)
    return Html(text)


def join(*children: object) -> Html:
    """Children one after the other; None is nothing, a list or tuple is its items."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, list | tuple):
            parts.append(join(*child))
        elif child is not None:
            parts.append(escape(child))
    return Html("".join(parts))


def tag(name: str, /, *children: object, **attributes: Any) -> Html:
    """An element. Attribute names lose a final "_", other "_" become "-"; True is a bare attribute, None is none."""
    written = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        written.append(key if value is True else f'{key}="{escape(value)}"')
    opened = Html(f"<{' '.join(written)}>")
    return opened if name in VOID else Html(f"{opened}{join(*children)}</{name}>")


def script_data(value: Any, name: str) -> Html:
    """A JSON block for the page's script: no text in it can end the block. Raises ValueError for NaN."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    for character, code in SCRIPT.items():
        text = text.replace(character, code)
    return Html(f'<script type="application/json" id="{name}">{text}</script>')


def data_uri(text: str) -> str:
    """A CSV file as a link's address."""
    coded = base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")
    return f"data:text/csv;charset=utf-8;base64,{coded}"


def file_name(*parts: str) -> str:
    """A harmless name for a download."""
    plain = unicodedata.normalize("NFKD", "-".join(parts))
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-.")[:80] or "data"


def text_of(value: object) -> Html:
    """Text whose direction is its own, so that it cannot turn its neighbours round."""
    return tag("bdi", value)
