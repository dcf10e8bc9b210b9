"""Figures of several panels: axes for each metric and panel of arms, with common scales, legend and caption."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.choices import chosen_panels
from analysis.figures.common import only_drawn
from analysis.figures.layout import (
    Panel,
    banner,
    group_panels,
    legend,
    legend_height,
    note_height,
    panel_grid,
    panels,
    range_text,
)
from analysis.formats import COLUMN, PAGE
from analysis.load import StudyResults
from analysis.style import arm_handle, arm_labels
from analysis.style_sheet import Page


class TooTall(Exception):
    """A figure would be taller than a page at the width asked for; the message says why."""


Cell = tuple[Axes, Panel, str]
NARROWEST = 1.35
"""Inches of width that a panel has at least."""
TALLEST = 9.0
"""Inches that a column of a paper has at most."""
_tallest = ContextVar("tallest", default=TALLEST)


@contextlib.contextmanager
def any_height() -> Iterator[None]:
    """Within it no figure is too tall: for screens, which scroll."""
    token = _tallest.set(math.inf)
    try:
        yield
    finally:
        _tallest.reset(token)


def facets(
    study: StudyResults, metrics: Mapping[str, str], within: str, width: float | None = None, common_x: bool = True
) -> tuple[Page, list[Cell]]:
    """Axes for each (panel of arms, metric), labelled; metrics: name -> label of the y axis.

    width: of the figure in inches; by default a column for one panel of arms (`layout.panels`), a page for several.
    Raises TooTall where that would be taller than a page. One panel: the metrics side by side, as many as fit. Several:
    a row per metric with a common y axis, a column per panel, with a common x axis unless common_x is off; as many
    panels side by side as fit, the others below in the same way.
    """
    metrics, columns = chosen_panels(metrics), group_panels(study) or panels(study, within)
    width = width or (PAGE if len(columns) > 1 else COLUMN)
    extra = 0.25 + note_height(0.2) + legend_height(study, width)
    if len(columns) > 1:
        return _matrix(columns, metrics, common_x, width, extra)
    rows = -(-len(metrics) // max(1, round(width / 1.7)))
    across = -(-len(metrics) // rows)
    fig, axes = panel_grid(rows, across, width, 1.25 if rows > 1 else 1.7, extra)
    flat = [ax for row in axes for ax in row]
    for ax in flat[len(metrics) :]:
        ax.remove()
    for ax, label in zip(flat, metrics.values(), strict=False):
        ax.set_ylabel(label, parse_math=True)
    return fig, [(ax, columns[0], metric) for ax, metric in zip(flat, metrics, strict=False)]


def blocks(columns: list[Panel], width: float) -> list[list[Panel]]:
    """Panels cut into rows of as many as fit side by side, the rows as even as may be."""
    rows = -(-len(columns) // max(2, int(width / NARROWEST)))
    across = -(-len(columns) // rows)
    return [columns[i : i + across] for i in range(0, len(columns), across)]


def _matrix(
    columns: list[Panel], metrics: Mapping[str, str], common_x: bool, width: float, extra: float
) -> tuple[Page, list[Cell]]:
    """For each block of panels a row per metric, with common axes, titles on top and y labels on the left."""
    parts = blocks(columns, width)
    rows = len(metrics) * len(parts)
    height = 1.05 if len(metrics) > 4 else 1.3 if len(metrics) > 1 else 1.6
    if len(parts) > 1:
        height = 1.3 if not common_x else max(0.93, 0.8 * height - 0.1 * len(metrics))
    extra += 0.3 * (len(parts) - 1)
    if len(parts) > 1 and rows * height + extra > _tallest.get():
        raise TooTall(f"{len(columns)} x {len(metrics)} panels do not fit on a page in a column {width:g} inches wide")
    fig, axes = panel_grid(rows, len(parts[0]), width, height, extra)
    cells: list[Cell] = []
    for block, part in enumerate(parts):
        own = axes[block * len(metrics) : (block + 1) * len(metrics)]
        for row, (metric, label) in zip(own, metrics.items(), strict=True):
            row[0].set_ylabel(label, parse_math=True)
            for empty in row[len(part) :]:
                empty.remove()
            cells += [(ax, panel, metric) for ax, panel in zip(row, part, strict=False)]
        for ax, panel in zip(own[0], part, strict=False):
            ax.set_title(panel.title)
    _share(cells, list(metrics), common_x)
    return fig, cells


def _share(cells: list[Cell], metrics: list[str], common_x: bool) -> None:
    """One y axis per metric and one x axis for all, with numbers only at the left and at the bottom."""
    drawn = [ax for ax, _, _ in cells]
    for metric in metrics:
        first, *others = [ax for ax, _, own in cells if own == metric]
        for ax in others:
            ax.sharey(first)
    lowest = {_column(ax): ax for ax in drawn}
    for ax in drawn:
        if _column(ax):
            ax.tick_params(labelleft=False)
        if common_x and ax is not drawn[0]:
            ax.sharex(drawn[0])
        if common_x and ax is not lowest[_column(ax)]:
            ax.tick_params(labelbottom=False)


def _column(ax: Axes) -> int:
    return int(ax.get_subplotspec().colspan.start)  # type: ignore[union-attr]


def draw_facets(
    study: StudyResults,
    stats: pd.DataFrame,
    metrics: Mapping[str, str],
    draw: Callable[[Axes, StudyResults, pd.DataFrame, Panel, str], None],
    x_label: Callable[[StudyResults], str],
    within: str = "noise_factor",
    width: float | None = None,
    common_x: bool = True,
    what: str = "",
    **handle: Any,
) -> Figure:
    """A figure of those metrics and arms that stats has, in `facets`, with legend and banner.

    draw: puts one metric of a panel's arms into axes. what: said in the caption. handle: changes of legend entries.
    """
    study = only_drawn(study, stats)
    fig, cells = facets(study, metrics, within, width, common_x)
    for ax, panel, metric in cells:
        draw(ax, study, stats, panel, metric)
    handles = [arm_handle(study, name, label, **handle) for name, label in arm_labels(study).items()]
    finish(study, fig, x_label(study), handles, what)
    return fig


def finish(study: StudyResults, fig: Page, x: str, handles: list[Line2D], *what: str) -> None:
    """The label of the x axis below each column, the legend, and what the caption says."""
    lowest = {_column(ax): ax for ax in fig.axes}
    for ax in lowest.values() if x else []:
        ax.set_xlabel(x)
    fig.align_labels()
    legend(fig, handles)
    banner(fig, study.banner, range_text(study), *what)
