"""Every figure as inline SVG with its caption, an alternative text made from its numbers, and its data."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.common import Missing, any_height, name_missing
from analysis.figures.drawing import MODULES, draw_module
from analysis.formats import COLUMN
from analysis.load import StudyResults
from analysis.report.alt_text import describe
from analysis.report.html import Html, join, tag
from analysis.report.html_tables import disclosure, scroll
from analysis.report.inline_svg import inline, svg_text
from analysis.report.section import Section
from analysis.style import Signs, styled
from core.watching import stage

CAPTIONS = {
    "ablation": (
        "Scores and effects",
        "From the left: which modules an arm has, where there are several; its mean with 95% interval and every seed; "
        "what each factor adds, or the difference to the control. An interval that touches 0 decides nothing.",
    ),
    "loss_collapse": (
        "Loss and embeddings over training",
        "A falling loss beside shrinking or aligning embeddings (small norm, cosine near 1, low effective rank) is "
        "collapse, not learning.",
    ),
    "per_step": (
        "Loss and accuracy at each diffusion step",
        "Where the embedding nearest to z_t alone recovers nearly every token, the step is not noisy enough: the "
        "network can copy instead of denoising.",
    ),
    "one_shot": (
        "One shot from noise against along the trajectory",
        "Dashed: predicted from pure noise fed in as if it were step t. Where it falls off towards t = 0 the network "
        "trusts z_t and ignores the source.",
    ),
    "embedding_norms": (
        "Embedding norms by token frequency",
        "If the norms of frequent and rare types drift apart, one noise scale corrupts them unequally.",
    ),
    "score_steps": ("Score against decoding effort", "What more decoding steps buy, in steps and in time."),
}


def figures_section(study: StudyResults) -> Section:
    """All figures that the study has data for, and a line for each that it has not."""
    parts: list[Html] = []
    with styled(), Signs() as signs:
        for module in MODULES:
            stage(f"drawing {module.NAME}")
            title, caption = CAPTIONS.get(module.NAME, (module.NAME.replace("_", " ").capitalize(), ""))
            try:
                figure, frame = draw_module(module, study)
                missing = name_missing(study, frame)
                caption += f" Without {missing}: no data of it." if missing else ""
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
