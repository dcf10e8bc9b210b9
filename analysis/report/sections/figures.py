"""Every figure as inline SVG with its caption, an alternative text made from its numbers, and its data."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.captions import CAPTIONS, ended
from analysis.figures.common import Missing, name_missing
from analysis.figures.drawing import MODULES, besides, draw_module
from analysis.figures.facets import any_height
from analysis.formats import COLUMN
from analysis.load import StudyResults
from analysis.report.alt_text import describe
from analysis.report.html import Html, join, tag
from analysis.report.html_tables import disclosure, scroll
from analysis.report.inline_svg import inline, svg_text
from analysis.report.section import Section
from analysis.style_sheet import Signs, styled
from core.watching import stage


def figures_section(study: StudyResults) -> Section:
    """All figures that the study has data for, and a line for each that it has not."""
    parts: list[Html] = []
    with styled(), Signs() as signs, any_height():
        for module in (*MODULES, *besides(study)):
            stage(f"drawing {module.NAME}")
            title, caption = CAPTIONS.get(module.NAME, (module.NAME.replace("_", " ").capitalize(), ""))
            try:
                figure, frame = draw_module(module, study)
                missing = name_missing(study, frame)
                caption += f" Without {missing}: no data of it." if missing else ""
                caption = f"{caption} {ended(getattr(figure, 'caption', ''))}".strip()
                drawn = [svg_text(figure), *_narrow(module, study, figure)]
                parts.append(_figure(study, module.NAME, title, caption, drawn, frame))
            except Missing as missing:
                parts.append(tag("p", f"{title}: left out, {missing}.", class_="note"))
    parts += [tag("p", line, class_="note") for line in signs.said()]
    return Section("figures", "Figures", join(parts))


def _narrow(module: Any, study: StudyResults, figure: Figure) -> list[str]:
    """The figure once more at the width of a column, for phones; none if it is no wider."""
    if figure.get_figwidth() <= COLUMN:
        return []
    with any_height():
        return [svg_text(draw_module(module, study, COLUMN)[0])]


def _figure(
    study: StudyResults, name: str, title: str, caption: str, drawn: Sequence[str], frame: pd.DataFrame
) -> Html:
    """drawn: the figure, and its form for phones if there is one."""
    anchor, described = f"figure-{name.replace('_', '-')}", describe(name, frame)
    wide, *narrow = [
        tag("div", inline(svg, f"{anchor}{kind}", title, described), class_="paper")
        for svg, kind in zip(drawn, ("", "-phone"), strict=False)
    ]
    papers = [tag("div", scroll(wide, f"Figure: {title}"), class_="wide" if narrow else None)]
    papers += [tag("div", each, class_="narrow") for each in narrow]
    words = tag("figcaption", caption)
    return join(tag("h3", title, id=anchor), tag("figure", papers, words), disclosure(title, frame, study.name, name))
