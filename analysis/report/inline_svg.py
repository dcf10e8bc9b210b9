"""A matplotlib figure as inline SVG: no ids that clash, no styles that leak, a title and a description.

Text is drawn as paths: it looks the same on every machine, and no text of the data becomes markup. Coordinates are
rounded to five digits; colours follow the page's scheme.
"""

import io
import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from analysis.formats import PAGE
from analysis.report.html import Html, escape
from analysis.report.themes import themed
from analysis.saving import METADATA, fix_layout

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
DECIMAL = re.compile(r"-?\d+\.\d{3,}")
REFERENCE = re.compile(r"url\(#([^)]+)\)")
DROPPED = {f"{{{SVG}}}{name}" for name in ("metadata", "style", "script")}


def svg_text(figure: Figure) -> str:
    """The figure as matplotlib writes it."""
    buffer = io.StringIO()
    fix_layout(figure)
    figure.savefig(buffer, format="svg", metadata=METADATA["svg"])
    return buffer.getvalue()


def inline(svg: str, name: str, title: str, description: str) -> Html:
    """SVG to stand in the page: ids begin with name; title and description are its alternative text.

    --share: its width as a share of a paper's page, so that all figures are shown at one scale.
    """
    root = ElementTree.fromstring(svg)
    _drop(root)
    used = _references(root)
    for element in root.iter():
        element.attrib = {
            _plain(key): _rewritten(_plain(key), value, name)
            for key, value in element.attrib.items()
            if not (key == "id" and value not in used)
        }
        element.tag = element.tag.removeprefix(f"{{{SVG}}}")
        element.text = element.text if (element.text or "").strip() else None
        element.tail = None
    box = root.attrib["viewBox"]
    inner = "".join(ElementTree.tostring(child, encoding="unicode", short_empty_elements=True) for child in root)
    share = float(box.split()[2]) / (72 * PAGE)
    head = (
        f'<svg xmlns="{SVG}" viewBox="{box}" style="--share:{share:.3g}" role="img" aria-labelledby="{name}-title" '
        f'aria-describedby="{name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    )
    return Html(f"{head}{inner}</svg>")


def _drop(element: ElementTree.Element) -> None:
    for child in list(element):
        if child.tag in DROPPED:
            element.remove(child)
        else:
            _drop(child)


def _references(root: ElementTree.Element) -> set[str]:
    """The ids that something refers to."""
    values = [value for element in root.iter() for value in element.attrib.values()]
    return {value[1:] for value in values if value.startswith("#")} | {
        found for value in values for found in REFERENCE.findall(value)
    }


def _plain(key: str) -> str:
    return "href" if key == f"{{{XLINK}}}href" else key


def _rewritten(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return f"#{name}-{value[1:]}" if value.startswith("#") else value
    value = REFERENCE.sub(lambda match: f"url(#{name}-{match[1]})", value)
    if key in ("d", "x", "y", "transform", "style", "points", "width", "height"):
        value = DECIMAL.sub(lambda match: f"{float(match[0]):.5g}", value)
    if key == "style":
        value = themed(value)
    return " ".join(value.split())
