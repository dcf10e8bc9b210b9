"""What stands around the curves of a figure: its panels, their legend, and the note above them."""

import textwrap
from collections.abc import Iterable
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from analysis.choices import chosen
from analysis.groups import grouping
from analysis.levels import level_text
from analysis.load import StudyResults
from analysis.results import seeds_text
from analysis.style import GREY, arm_labels
from analysis.style_sheet import SMALL, Page


class Panel(NamedTuple):
    """Arms that share one column of a figure, and what they have in common."""

    title: str
    arms: tuple[str, ...]


def panels(study: StudyResults, within: str, most: int = 6) -> list[Panel]:
    """Spread the arms over columns: in a factorial, arms that differ in `within` alone share one.

    Up to four arms, or a study of one factor, stay in one panel (up to `most`; then they are cut into several).
    """
    names = [arm.name for arm in study.arms]
    if len(study.factors) > 1 and len(names) > 4:
        split = within if within in study.factors else list(study.factors)[-1]
        groups: dict[str, list[str]] = {}
        for arm in study.arms:
            rest = [level_text(study, name, arm.toggles.get(name)) for name in study.factors if name != split]
            title = " · ".join(rest)
            groups.setdefault(title if len(title) <= 18 else " ·\n".join(rest), []).append(arm.name)
        return [Panel(title, tuple(arms)) for title, arms in groups.items()]
    count = -(-len(names) // most)
    size = -(-len(names) // count)
    return [Panel("", tuple(names[i : i + size])) for i in range(0, len(names), size)]


def group_panels(study: StudyResults) -> list[Panel]:
    """A panel for each group that has arms; none in a study without groups."""
    by = grouping(study.factors)
    names = [arm.name for arm in study.arms]
    found = [(group, tuple(name for name in names if name in group.arms)) for group in study.groups]
    return [Panel(level_text(study, by, group.level), arms) for group, arms in found if arms]


def panel_grid(
    rows: int, columns: int, width: float, row_height: float, extra: float = 0.0
) -> tuple[Page, list[list[Axes]]]:
    """A figure of panels in the common style; extra: inches for legend and note."""
    figure = Page(
        figsize=(width, rows * row_height + extra),
        layout=ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.03, hspace=0.04),
    )
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, [list(row) for row in axes]


SPACING = 1.2
"""Between columns of a legend, in sizes of its font."""


def legend_columns(labels: list[str], width: float) -> int:
    """In how many columns labels fit into so many inches, the rows as even as may be."""
    widths = [text_width(label) for label in labels]
    rc = matplotlib.rcParams
    beside = rc["legend.handlelength"] + rc["legend.handletextpad"] + SPACING  # in sizes of the font
    beside *= SMALL * _scale() / 72
    fits = [
        count
        for count in range(1, len(labels) + 1)
        if sum(beside + max(part) for part in np.array_split(widths, count)) <= width
    ]
    rows = -(-len(labels) // max(fits, default=1))
    return -(-len(labels) // rows)


def legend(figure: Figure, handles: Iterable[Line2D]) -> None:
    """One legend for the whole figure, below the panels, in as many columns as fit."""
    handles = list(handles)
    columns = legend_columns([str(handle.get_label()) for handle in handles], figure.get_figwidth())
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=SPACING)


def text_width(text: str) -> float:
    """Inches that a line of the size of legends is wide."""
    font = FontProperties(size=matplotlib.rcParams["legend.fontsize"])
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def _scale() -> float:
    """How much larger small text is than in our own style."""
    size = matplotlib.rcParams["legend.fontsize"]
    return size / SMALL if isinstance(size, int | float) else 1.0


def legend_height(study: StudyResults, width: float) -> float:
    """Inches that a legend of all arms takes."""
    labels = list(arm_labels(study).values())
    return 0.15 * _scale() * -(-len(labels) // legend_columns(labels, width)) + 0.1


def note_height(inches: float) -> float:
    """Inches that a note above the panels takes: none where it stands in the caption alone."""
    return inches if chosen().note else 0.05


def banner(figure: Page, worth: str, *what: str, margin: float = 0.1) -> None:
    """Keep for the caption what the numbers are worth (a study's banner), and what lines, bands and boxes are.

    Where a note is chosen it stands above the panels too; margin: inches that its lines leave free.
    """
    said = "; ".join(line for line in what if line)
    figure.caption = " ".join(f"{part[0].upper()}{part[1:].rstrip('.')}." for part in (said, worth) if part)
    if not chosen().note:
        return
    text = textwrap.fill(figure.caption, int((figure.get_figwidth() - margin) / (0.051 * _scale())))
    size = matplotlib.rcParams["legend.fontsize"]
    figure.suptitle(text, x=0.01, ha="left", fontsize=size, color=GREY, style="italic")


def range_text(study: StudyResults) -> str:
    """What line and band are."""
    seeds = seeds_text(study)
    return f"Lines: {seeds}" if seeds == "1 seed" else f"Lines: mean over {seeds}; bands: their range"
