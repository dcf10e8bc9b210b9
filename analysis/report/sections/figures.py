"""Every figure as inline SVG with its caption, an alternative text made from its numbers, and its data."""

import pandas as pd

from analysis.figures.captions import CAPTIONS, ended
from analysis.figures.common import Missing, name_missing
from analysis.figures.drawing import MODULES, draw_module
from analysis.load import StudyResults
from analysis.report.alt_text import describe
from analysis.report.html import Html, join, tag
from analysis.report.html_tables import disclosure, scroll
from analysis.report.inline_svg import inline, svg_text
from analysis.report.section import Section
from analysis.style import Signs, styled


def figures_section(study: StudyResults) -> Section:
    """All figures that the study has data for, and a line for each that it has not."""
    parts: list[Html] = []
    with styled(), Signs() as signs:
        for module in MODULES:
            title, caption = CAPTIONS.get(module.NAME, (module.NAME.replace("_", " ").capitalize(), ""))
            try:
                figure, frame = draw_module(module, study)
                missing = name_missing(study, frame)
                caption += f" Without {missing}: no data of it." if missing else ""
                caption = f"{caption} {ended(getattr(figure, 'caption', ''))}".strip()
                parts.append(_figure(study, module.NAME, title, caption, svg_text(figure), frame))
            except Missing as missing:
                parts.append(tag("p", f"{title}: left out, {missing}.", class_="note"))
    parts += [tag("p", line, class_="note") for line in signs.said()]
    return Section("figures", "Figures", join(parts))


def _figure(study: StudyResults, name: str, title: str, caption: str, svg: str, frame: pd.DataFrame) -> Html:
    anchor = f"figure-{name.replace('_', '-')}"
    image = inline(svg, anchor, title, describe(name, frame))
    paper = scroll(tag("div", image, class_="paper"), f"Figure: {title}")
    words = tag("figcaption", caption)
    return join(tag("h3", title, id=anchor), tag("figure", paper, words), disclosure(title, frame, study.name, name))
