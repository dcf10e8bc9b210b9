"""Figures by name: all of a study or of a search into files, or one for a notebook.

    from analysis.figures.drawing import draw
    from analysis.load import load

    draw(load("runs/modules"), "per_step")

draws a figure that a notebook shows; `draw_panel(ax, study, "per_step", "accuracy")` draws one of its metrics into axes
at hand.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import (
    ablation,
    embedding_norms,
    importance,
    loss_collapse,
    one_shot,
    pareto,
    per_step,
    score_steps,
    tuned,
)
from analysis.figures.common import Missing, TooTall, name_missing, only_drawn
from analysis.figures.names import restore_names, search_names, shorten_names, shorten_search_names
from analysis.formats import FORMATS
from analysis.load import StudyResults
from analysis.saving import save
from analysis.searches import Search
from analysis.style import Panel, Signs, arm_handle, styled
from core.errors import UserError
from core.watching import stage

MODULES = (ablation, embedding_norms, loss_collapse, per_step, one_shot, score_steps)
"""The figures of a study, in the order in which they are listed. Add yours here."""
SEARCH_MODULES = (tuned, importance, pareto)
"""The figures of a search."""

Style = Mapping[Any, Any]
"""Settings of matplotlib, over those of paper.mplstyle."""


def draw(study: StudyResults, name: str, width: float | None = None, style: Style | None = None) -> Figure:
    """A figure of a study by its name, such as "per_step"; width in inches, by default what suits it.

    Raises UserError if there is no such figure, or no data for it, or if it is too tall for that width.
    """
    with styled(style), Signs():
        try:
            return draw_module(_named(name), study, width)[0]
        except (Missing, TooTall) as reason:
            raise UserError(f"{name} cannot be drawn: {reason}") from None


def draw_panel(ax: Axes, study: StudyResults, name: str, metric: str) -> Axes:
    """One metric of a figure of curves into axes, all arms in one panel, with labels and a legend.

    Raises UserError if there is no such figure or metric, or no data for it. Size and fonts are those of the axes.
    """
    module, study = _named(name), shorten_names(study)
    metrics: Mapping[str, str] = getattr(module, "METRICS", {})
    if metric not in metrics:
        raise UserError(f"{name} has no panel {metric!r}; it has {', '.join(metrics) or 'none that stands alone'}")
    try:
        stats = module.statistics(module.tidy(study))
    except Missing as missing:
        raise UserError(f"{name} cannot be drawn: {missing}") from None
    study = only_drawn(study, stats)
    module.draw(ax, study, stats, Panel("", tuple(arm.name for arm in study.arms)), metric)
    ax.set_xlabel(ax.get_xlabel() or module.x_label(study))
    ax.set_ylabel(metrics[metric], parse_math=True)
    for text in ax.legend(handles=[arm_handle(study, arm.name) for arm in study.arms]).get_texts():
        text.set_parse_math(False)  # a name is no mathematics
    return ax


def draw_module(module: Any, study: StudyResults, width: float | None = None) -> tuple[Figure, pd.DataFrame]:
    """A module's figure with names that can be drawn, and its frame with whole names; for use within the style."""
    figure, frame = module.figure(shorten_names(study), width)
    return figure, restore_names(frame, {arm.name: arm.label for arm in study.arms}, study.control)


def redraw(
    study: StudyResults,
    out: Path,
    formats: Iterable[str] = FORMATS,
    width: float | None = None,
    style: Style | None = None,
) -> tuple[list[Path], list[str]]:
    """Draw every figure of a study into the folder out: files written, and a line for each figure or arm left out.

    width: of all figures, in inches; by default each has its own, and one that does not fit keeps its own, which is
    said.
    """
    with styled(style), Signs() as signs:

        def draw_one(module: Any, width: float | None) -> tuple[Figure, pd.DataFrame]:
            figure, frame = draw_module(module, study, width)
            if missing := name_missing(study, frame):
                without.setdefault(missing, []).append(module.NAME)
            return figure, frame

        without: dict[str, list[str]] = {}
        written, said = _write(MODULES, draw_one, out, formats, width)
        said += [f"{', '.join(names)} drawn without {arms}: no data of it" for arms, names in without.items()]
        return written, said + signs.said()


def redraw_search(
    found: Search, out: Path, formats: Iterable[str] = FORMATS, style: Style | None = None
) -> tuple[list[Path], list[str]]:
    """The same for a search and the two studies made after it."""
    with styled(style), Signs() as signs:
        drawn, names = shorten_search_names(found), search_names(found)  # how much of a name fits depends on the style

        def draw_one(module: Any, _: float | None) -> tuple[Figure, pd.DataFrame]:
            figure, frame = module.figure(drawn)
            return figure, restore_names(frame, names)

        written, said = _write(SEARCH_MODULES, draw_one, out, formats, None)
        return written, said + signs.said()


def _named(name: str) -> Any:
    """A study's figure module by its name."""
    modules = {module.NAME: module for module in MODULES}
    if name not in modules:
        raise UserError(f"there is no figure {name!r}; there are {', '.join(modules)}")
    return modules[name]


def _write(
    modules: Iterable[Any],
    draw_one: Callable[[Any, float | None], tuple[Figure, pd.DataFrame]],
    out: Path,
    formats: Iterable[str],
    width: float | None,
) -> tuple[list[Path], list[str]]:
    written: list[Path] = []
    said = []
    for module in modules:
        stage(f"drawing {module.NAME}")
        try:
            try:
                figure, frame = draw_one(module, width)
            except TooTall as reason:
                said.append(f"{module.NAME} keeps its own width: {reason}")
                figure, frame = draw_one(module, None)
            written += save(figure, out / module.NAME, frame, formats)
        except Missing as missing:
            said.append(f"{module.NAME} left out: {missing}")
    return written, said
