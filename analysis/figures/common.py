"""What several figures share: means over seeds with their range, curves, and the error of missing data."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.load import Study
from analysis.style import COLUMN, PAGE, Look, Panel, banner, grid, legend, panels, range_text


class Missing(Exception):
    """The study does not hold what a figure needs; the message says what."""


def seed_range(tidy: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Mean, smallest and largest `value` over seeds for each combination of keys, and how many seeds.

    tidy has the columns keys, seed, value; rows without a value do not count.
    """
    finite = tidy[np.isfinite(tidy["value"].to_numpy(dtype=float))]
    grouped = finite.groupby(keys, sort=False)["value"]
    return grouped.agg(mean="mean", low="min", high="max", n_seeds="count").reset_index()


def curve(ax: Axes, rows: pd.DataFrame, x: str, look: Look, **changes: Any) -> None:
    """The mean over seeds as a line, the range over seeds as a band."""
    rows = rows.sort_values(x)
    xs = rows[x].to_numpy(dtype=float)
    if (rows["n_seeds"] > 1).any():
        low, high = rows["low"].to_numpy(dtype=float), rows["high"].to_numpy(dtype=float)
        ax.fill_between(xs, low, high, color=look.color, alpha=0.18, linewidth=0)
    ax.plot(xs, rows["mean"].to_numpy(dtype=float), **look.line(**changes))


def zero_based(ax: Axes, highest: pd.Series) -> None:
    """A y axis from 0 to the highest value of all panels, with room for lines that lie on 0."""
    top = float(np.nanmax(highest.to_numpy(dtype=float), initial=0.0)) or 1.0
    ax.set_ylim(-0.03 * top, 1.05 * top)


def probe_curves(study: Study, x: str, names: Mapping[str, str]) -> pd.DataFrame:
    """Curves of probes.npz as tidy rows arm, label, seed, metric, x, value; names: array -> name of the metric.

    Arrays that are absent or not as long as their x are left out.
    """
    frames = []
    for record in study.scores[["run", "arm", "label", "seed"]].to_dict("records"):
        probes = study.probes.get(record["run"], {})
        for array, metric in names.items():
            if x in probes and array in probes and probes[array].shape == probes[x].shape:
                columns: dict[str, Any] = {
                    "metric": metric,
                    x: probes[x].astype(float),
                    "value": probes[array].astype(float),
                }
                head = {"arm": record["arm"], "label": record["label"], "seed": record["seed"]}
                frames.append(pd.DataFrame(head | columns))
    order = ["arm", "label", "seed", "metric", x, "value"]
    return pd.concat(frames, ignore_index=True)[order] if frames else pd.DataFrame(columns=order)


def steps_total(study: Study) -> int | None:
    """T, if all results have the same."""
    totals = {(record.get("config") or {}).get("diffusion_steps") for record in study.records.values()}
    return totals.pop() if len(totals) == 1 else None


def t_label(study: Study) -> str:
    """Label of an axis that shows t."""
    total = steps_total(study)
    return f"t (of T = {total:,})" if total else "t (diffusion step)"


def facets(
    study: Study, metrics: Mapping[str, str], within: str, common_x: bool = True
) -> tuple[Figure, list[tuple[Axes, Panel, str]]]:
    """Axes for each (panel of arms, metric), labelled; metrics: name -> label of the y axis.

    One panel of arms (`style.panels`): the metrics two in a row, on column width. Several, on page width: a row per
    metric with a common y axis, a column per panel, with a common x axis unless common_x is off.
    """
    columns = panels(study, within)
    if len(columns) > 1:
        return _matrix(columns, metrics, common_x)
    rows = -(-len(metrics) // 2)
    fig, axes = grid(rows, min(2, len(metrics)), COLUMN, 1.25 if rows > 1 else 1.7, extra=0.8)
    flat = [ax for row in axes for ax in row]
    for ax in flat[len(metrics) :]:
        ax.remove()
    for ax, label in zip(flat, metrics.values(), strict=False):
        ax.set_ylabel(label)
    return fig, [(ax, columns[0], metric) for ax, metric in zip(flat, metrics, strict=False)]


def _matrix(
    columns: list[Panel], metrics: Mapping[str, str], common_x: bool
) -> tuple[Figure, list[tuple[Axes, Panel, str]]]:
    """A row per metric and a column per panel, with common axes, titles on top and y labels on the left."""
    height = 1.05 if len(metrics) > 4 else 1.3 if len(metrics) > 1 else 1.6
    fig, axes = grid(len(metrics), len(columns), PAGE, height, extra=0.9)
    for row, label in zip(axes, metrics.values(), strict=True):
        row[0].set_ylabel(label)
        for ax in row[1:]:
            ax.sharey(row[0])
            ax.tick_params(labelleft=False)
    for above in axes[:-1] if common_x else []:
        for ax, below in zip(above, axes[-1], strict=True):
            ax.sharex(below)
            ax.tick_params(labelbottom=False)
    for ax, panel in zip(axes[0], columns, strict=True):
        ax.set_title(panel.title)
    cells = zip(axes, metrics, strict=True)
    return fig, [(ax, panel, metric) for row, metric in cells for ax, panel in zip(row, columns, strict=True)]


def finish(study: Study, fig: Figure, x: str, handles: list[Line2D], *what: str) -> None:
    """The label of the x axis below each column, the legend, and the banner."""
    lowest: dict[float, Axes] = {}
    for ax in fig.axes:
        column = ax.get_subplotspec().colspan.start  # type: ignore[union-attr]
        lowest[column] = ax
    for ax in lowest.values() if x else []:
        ax.set_xlabel(x)
    fig.align_labels()
    legend(fig, handles)
    banner(fig, study, range_text(study), *what)
