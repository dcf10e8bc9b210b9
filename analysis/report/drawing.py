"""A matplotlib figure as inline SVG: no ids that clash, no styles that leak, a title and a description.

Text is drawn as paths: it looks the same on every machine, and no text of the data becomes markup. Coordinates are
rounded to five digits.
"""

import dataclasses
import io
import re
from typing import Any
from xml.etree import ElementTree

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from analysis.load import Study
from analysis.report.html import Html, escape, visible
from analysis.style import METADATA

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
DECIMAL = re.compile(r"-?\d+\.\d{3,}")
REFERENCE = re.compile(r"url\(#([^)]+)\)")
LONGEST = 40
"""Characters of an arm's name that are drawn."""
DROPPED = {f"{{{SVG}}}{name}" for name in ("metadata", "style", "script")}


def svg_text(figure: Figure) -> str:
    """The figure as matplotlib writes it; the figure is closed."""
    buffer = io.StringIO()
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    figure.savefig(buffer, format="svg", metadata=METADATA["svg"])
    plt.close(figure)
    return buffer.getvalue()


def inline(svg: str, name: str, title: str, description: str) -> Html:
    """SVG to stand in the page: ids begin with name; title and description are its alternative text."""
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
    head = (
        f'<svg xmlns="{SVG}" viewBox="{box}" role="img" aria-labelledby="{name}-title" '
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
    return " ".join(value.split())


def drawable(study: Study) -> Study:
    """The study with names that matplotlib draws as they are: no mathematics between dollars, no hidden characters."""
    frames = {
        field.name: _frame(getattr(study, field.name))
        for field in dataclasses.fields(study)
        if field.name in ("runs", "scores", "steps", "metrics", "failed")
    }
    arms = tuple(dataclasses.replace(arm, **_mapped(dataclasses.asdict(arm))) for arm in study.arms)
    arms = tuple(dataclasses.replace(arm, label=_short(arm.label)) for arm in arms)
    return dataclasses.replace(study, info=_mapped(study.info), factors=_mapped(study.factors), arms=arms, **frames)


def undrawable(text: Any) -> Any:
    """A name as it was before `drawable`."""
    return text.replace("\\$", "$") if isinstance(text, str) else text


def _mapped(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value.replace("\n", " ")).replace("$", "\\$")
    if isinstance(value, dict):
        return {_mapped(key): _mapped(each) for key, each in value.items()}
    return [_mapped(each) for each in value] if isinstance(value, list | tuple) else value


def _short(label: str) -> str:
    """A label that leaves room for the axes."""
    return label if len(label) <= LONGEST else label[: LONGEST - 1].rstrip("\\") + "…"


def _frame(frame: Any) -> Any:
    changed = {name: frame[name].map(_mapped) for name in ("arm", "label") if name in frame}
    if "label" in changed:
        changed["label"] = changed["label"].map(_short)
    return frame.assign(**changed)
