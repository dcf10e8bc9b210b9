"""Figures by name: all of a study or of a search into files, or one for a notebook.

    from analysis.figures.drawing import draw
    from analysis.load import load

    draw(load("runs/modules"), "per_step")

draws a figure that a notebook shows, with a note on what its numbers are worth; `draw_panel(ax, study, "per_step",
"accuracy")` draws one of its metrics into axes at hand.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.choices import Choices, chosen, is_named
from analysis.figures import (
    ablation,
    embedding_norms,
    importance,
    loss_collapse,
    one_shot,
    pareto,
    per_step,
    quality_time,
    score_steps,
    tuned,
)
from analysis.figures.captions import caption
from analysis.figures.common import Missing, name_missing, only_drawn, part_of
from analysis.figures.facets import TooTall
from analysis.figures.layout import Panel
from analysis.figures.names import restore_names, search_names, shorten_names, shorten_search_names
from analysis.formats import FORMATS, Width
from analysis.load import StudyResults
from analysis.questions.full_model import varies_method
from analysis.saving import save
from analysis.searches import Search
from analysis.style import arm_handle
from analysis.style_sheet import Signs, styled
from core.errors import UserError
from core.watching import stage

MODULES = (ablation, embedding_norms, loss_collapse, per_step, one_shot, score_steps)
"""The figures of a study, in the order in which they are listed. Add yours here."""
METHOD_MODULES = (quality_time,)
"""Those that a study whose arms are of several methods has besides."""
SEARCH_MODULES = (tuned, importance, pareto)
"""The figures of a search."""

HIGH = 5.0
"""Inches from which on a figure takes the page of a venue rather than its column."""
Style = Mapping[Any, Any]
"""Settings of matplotlib, over those of paper.mplstyle."""
DrawOne = Callable[[Any, float | None], tuple[Figure, pd.DataFrame, str]]
"""Module and width -> figure, frame and caption."""


def draw(
    study: StudyResults,
    name: str,
    width: float | None = None,
    style: Style | None = None,
    *,
    arms: Sequence[str] = (),
    panels: Sequence[str] = (),
    note: bool = True,
) -> Figure:
    """A figure of a study by its name, such as "per_step"; width in inches, by default what suits it.

    arms, panels: those to draw (default: all). note: whether what the numbers are worth stands in it; the figure's
    `caption` has it in any case. Raises UserError if there is no such figure, arm or panel, or no data for it, or if it
    is too tall for that width.
    """
    choices = choose(study, arms, panels, note)
    with styled(style, choices), Signs():
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
    """A module's figure with names that can be drawn, and its frame with whole names; for use within the style.

    Of the arms that are chosen there (analysis/choices.py).
    """
    drawn = shorten_names(study)
    figure, frame = module.figure(drawn if hasattr(module, "WHOLE") else part_of(drawn, chosen().arms), width)
    names = {arm.name: arm.label for arm in study.arms}
    return figure, restore_names(frame, names, {name: study.control_of(name) for name in names})


def choose(study: StudyResults, arms: Sequence[str], panels: Sequence[str], note: bool) -> Choices:
    """Choices for a study; arms by name or label. Raises UserError naming the nearest of what there is."""
    by_name = {arm.name: arm.name for arm in study.arms} | {arm.label: arm.name for arm in study.arms}
    for arm in arms:
        if arm not in by_name:
            names = ", ".join(each.name for each in study.arms)
            raise UserError(f"no arm {arm!r} with a result in {study.name}; there are {names}")
    known = [name for module in MODULES for name in getattr(module, "PANELS", getattr(module, "METRICS", ()))]
    for panel in panels:
        if not any(is_named(name, (panel,)) for name in known):
            raise UserError(f"no figure has a panel {panel!r}; there are {', '.join(dict.fromkeys(known))}")
    return Choices(tuple(by_name[arm] for arm in arms), tuple(panels), note)


def redraw(
    study: StudyResults,
    out: Path,
    formats: Iterable[str] = FORMATS,
    width: Width | float | None = None,
    style: Style | None = None,
    choices: Choices | None = None,
) -> tuple[list[Path], list[str]]:
    """Draw every figure of a study into the folder out: files written, and a line for each figure or arm left out.

    width: of all figures, in inches; by default each has its own, and one that does not fit keeps its own, which is
    said.
    """
    width = width if isinstance(width, Width) else Width(width)
    with styled(style, choices), Signs() as signs:

        def draw_one(module: Any, width: float | None) -> tuple[Figure, pd.DataFrame, str]:
            figure, frame = draw_module(module, study, width)
            if missing := name_missing(part_of(study, chosen().arms), frame):
                without.setdefault(missing, []).append(module.NAME)
            return figure, frame, caption(study.banner, module.NAME, figure)

        without: dict[str, list[str]] = {}
        written, said = _write((*MODULES, *besides(study)), draw_one, out, formats, width)
        said += [f"{', '.join(names)} drawn without {arms}: no data of it" for arms, names in without.items()]
        return written, said + signs.said()


def redraw_search(
    found: Search,
    out: Path,
    formats: Iterable[str] = FORMATS,
    style: Style | None = None,
    choices: Choices | None = None,
) -> tuple[list[Path], list[str]]:
    """The same for a search and the two studies made after it; of the choices the note counts."""
    with styled(style, choices), Signs() as signs:
        drawn, names = shorten_search_names(found), search_names(found)  # how much of a name fits depends on the style

        def draw_one(module: Any, _: float | None) -> tuple[Figure, pd.DataFrame, str]:
            figure, frame = module.figure(drawn)
            return figure, restore_names(frame, names), caption(found.banner, module.NAME, figure)

        written, said = _write(SEARCH_MODULES, draw_one, out, formats, Width())
        return written, said + signs.said()


def besides(study: StudyResults) -> tuple[Any, ...]:
    """The figures that a study has besides those that all have."""
    return METHOD_MODULES if varies_method(study) else ()


def _named(name: str) -> Any:
    """A study's figure module by its name."""
    modules = {module.NAME: module for module in (*MODULES, *METHOD_MODULES)}
    if name not in modules:
        raise UserError(f"there is no figure {name!r}; there are {', '.join(modules)}")
    return modules[name]


def _write(
    modules: Iterable[Any],
    draw_one: DrawOne,
    out: Path,
    formats: Iterable[str],
    width: Width,
) -> tuple[list[Path], list[str]]:
    """Draw and write each; draw_one gives figure, frame and caption."""
    written: list[Path] = []
    said: list[str] = []
    for module in modules:
        stage(f"drawing {module.NAME}")
        try:
            figure, frame, words = _fitted(module, draw_one, width, said)
            written += save(figure, out / module.NAME, frame, formats, words)
        except Missing as missing:
            said.append(f"{module.NAME} left out: {missing}")
    return written, said


def _fitted(module: Any, draw_one: DrawOne, width: Width, said: list[str]) -> tuple[Figure, pd.DataFrame, str]:
    """A figure at the first width that it fits into; what it does not fit into is said."""
    for inches in dict.fromkeys(width):
        try:
            drawn = draw_one(module, inches)
            high = drawn[0].get_figheight()
            if inches and width.else_ and inches < width.else_ and high > HIGH:
                raise TooTall(f"in a column {inches:g} inches wide it would be {high:.1f} high")
            return drawn
        except TooTall as reason:
            other = width.else_ if inches != width.else_ else None
            instead = f"is {other:g} inches wide" if other else "keeps its own width"
            said.append(f"{module.NAME} {instead}: {reason}")
    return draw_one(module, None)
