"""What several figures share: means over seeds with their range, curves, and the error of missing data."""

import contextlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from analysis.choices import chosen_panels
from analysis.formats import COLUMN, PAGE
from analysis.load import StudyResults
from analysis.style import (
    Look,
    Page,
    Panel,
    arm_handle,
    arm_labels,
    banner,
    group_panels,
    legend,
    legend_height,
    note_height,
    panel_grid,
    panels,
    range_text,
)
from analysis.tall import under_heads


class Missing(Exception):
    """The study does not hold what a figure needs; the message says what."""


class TooTall(Exception):
    """A figure would be taller than a page at the width asked for; the message says why."""


def seed_range(tidy: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Mean, smallest and largest `value` over seeds for each combination of keys, and how many seeds.

    tidy has the columns keys, seed, value; rows without a value do not count.
    """
    finite = tidy[np.isfinite(tidy["value"].to_numpy(dtype=float))]
    grouped = finite.groupby(keys, sort=False)["value"]
    return grouped.agg(mean="mean", low="min", high="max", n_seeds="count").reset_index()


SMOOTHED = 8
"""Rows of a curve over the rows that a smooth value is the mean of."""


def smooth(stats: pd.DataFrame, keys: list[str], x: str) -> "pd.Series[float]":
    """The mean over seeds, averaged over its neighbours along x, an eighth of the curve: for noisy curves."""

    def averaged(curve: "pd.Series[float]") -> "pd.Series[float]":
        window = 2 * (len(curve) // SMOOTHED // 2) + 1
        return curve.rolling(window, center=True, min_periods=1).mean()

    found: pd.Series[float] = stats.sort_values(x).groupby(keys, sort=False)["mean"].transform(averaged)
    return found.reindex(stats.index)


def curve(ax: Axes, rows: pd.DataFrame, x: str, look: Look, **changes: Any) -> None:
    """The mean over seeds as a line, the range as a band; where there is a smooth line too, the mean is faint."""
    rows = rows.sort_values(x)
    xs = rows[x].to_numpy(dtype=float)
    if (rows["n_seeds"] > 1).any():
        low, high = rows["low"].to_numpy(dtype=float), rows["high"].to_numpy(dtype=float)
        ax.fill_between(xs, low, high, color=look.color, alpha=0.18, linewidth=0)
    line = rows["mean"].to_numpy(dtype=float)
    if "smooth" in rows and rows["smooth"].notna().any():
        ax.plot(xs, line, color=look.color, linewidth=0.5, alpha=0.45)
        line = rows["smooth"].to_numpy(dtype=float)
    ax.plot(xs, line, **look.line(**changes))


def zero_based(ax: Axes, highest: pd.Series) -> None:
    """A y axis from 0 to the highest value of all panels, with room for lines that lie on 0."""
    top = float(np.nanmax(highest.to_numpy(dtype=float), initial=0.0)) or 1.0
    ax.set_ylim(-0.03 * top, 1.05 * top)


def plain_numbers(axis: Axis) -> None:
    """Ticks of a logarithmic axis as 0.1, 20 and the like, none between: powers need mathematics, which is off."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def probe_curves(study: StudyResults, x: str, names: Mapping[str, str]) -> pd.DataFrame:
    """Curves of probes.npz as tidy rows arm, label, seed, metric, x, value; names: array -> name of the metric.

    Arrays that are absent or not as long as their x are left out. Where runs count t in different units, x is a share
    of a run's last t.
    """
    last = last_times(study)
    shares = len(set(last.values())) > 1
    heads, parts = list[dict[str, Any]](), list[dict[str, np.ndarray]]()
    for record in study.scores[["run", "arm", "label", "seed"]].to_dict("records"):
        run = record.pop("run")
        probes, unit = study.probes.get(run, {}), last.get(run, 1.0) if shares else 1.0
        for array, metric in names.items():
            if x in probes and array in probes and probes[array].shape == probes[x].shape:
                heads.append(record | {"metric": metric})
                parts.append({x: probes[x].astype(float) / unit, "value": probes[array].astype(float)})
    return under_heads(heads, parts) if parts else pd.DataFrame(columns=["arm", "label", "seed", "metric", x, "value"])


def last_times(study: StudyResults) -> dict[str, float]:
    """The last t that a run was probed at: T - 1, or 1 where time is a share."""
    return {run: float(probes["t"].max()) for run, probes in study.probes.items() if probes.get("t", np.zeros(0)).size}


def part_of(study: StudyResults, arms: Collection[str]) -> StudyResults:
    """The study with these arms alone, by name; all if there are none. What it is worth it owes to the whole."""
    if not arms:
        return study
    frames = {name: frame[frame["arm"].isin(list(arms))] for name, frame in _frames(study).items() if len(frame)}
    kept = tuple(arm for arm in study.arms if arm.name in arms)
    worth = {"no_verdict": study.no_verdict, "no_verdicts": study.no_verdicts}
    return replace(study, arms=kept, info=study.info | worth, **frames)


def _frames(study: StudyResults) -> dict[str, pd.DataFrame]:
    return {"scores": study.scores, "steps": study.steps, "metrics": study.metrics, "failed": study.failed}


def only_drawn(study: StudyResults, frame: pd.DataFrame) -> StudyResults:
    """The study with those arms that a figure's frame has something of."""
    drawn = set(frame["arm"])
    return replace(study, arms=tuple(arm for arm in study.arms if arm.name in drawn))


def name_missing(study: StudyResults, frame: pd.DataFrame) -> str:
    """The arms that a figure's frame has nothing of, such as another method's without what it shows; may be empty."""
    drawn = set(frame["arm"])
    return ", ".join(arm.label for arm in study.arms if arm.name not in drawn)


def steps_total(study: StudyResults) -> int | None:
    """T, if all results of the study's arms have the same."""
    arms = {arm.name for arm in study.arms}
    configs = [record.get("config") or {} for record in study.records.values() if record["arm"] in arms]
    totals = {config.get("diffusion_steps") for config in configs}
    return totals.pop() if len(totals) == 1 else None


def t_label(study: StudyResults) -> str:
    """Label of an axis that shows t."""
    if len(set(last_times(study).values())) > 1:
        return "t / T"
    total = steps_total(study)
    return f"t (of T = {total:,})" if total else "t (diffusion step)"


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

    width: of the figure in inches; by default a column for one panel of arms (`style.panels`), a page for several.
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
    _share(cells, list(metrics), len(parts[0]), common_x)
    return fig, cells


def _share(cells: list[Cell], metrics: list[str], across: int, common_x: bool) -> None:
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
