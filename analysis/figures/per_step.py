"""Per-step loss and accuracy against t, and what the nearest embedding of z_t already gives away.

Where nearest-embedding recovery is near 100% the step is not noisy enough: the denoiser can copy instead of denoising.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.common import Missing, curve, probe_curves, seed_range, t_label, zero_based
from analysis.figures.facets import draw_facets
from analysis.figures.layout import Panel
from analysis.load import StudyResults
from analysis.style import arm_style
from core.run_folder import PROBES

NAME = "per_step"
METRICS = {
    "mse": "MSE per\ndimension",
    "nll": "NLL per\ntoken (nats)",
    "accuracy": "accuracy\n(%)",
    "nearest": "recovered by\nnearest (%)",
}
x_label = t_label
PERCENT = ("accuracy", "nearest", "nearest_F1")


def tidy(study: StudyResults) -> pd.DataFrame:
    """A row per arm, seed, metric and t; shares in percent. nearest_F1 stands in the CSV only."""
    frame = probe_curves(study, "t", {name: name for name in (*METRICS, "nearest_F1")})
    if frame.empty:
        raise Missing(f"no run has per-step curves in {PROBES}")
    return frame.assign(value=frame["value"].where(~frame["metric"].isin(PERCENT), 100 * frame["value"]))


def statistics(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and range over seeds at each t."""
    return seed_range(frame, ["arm", "label", "metric", "t"])


def draw(ax: Axes, study: StudyResults, stats: pd.DataFrame, panel: Panel, metric: str) -> None:
    """One metric of a panel's arms against t."""
    looks = arm_style(study)
    for arm in panel.arms:
        rows = stats[(stats["arm"] == arm) & (stats["metric"] == metric)]
        if len(rows):
            curve(ax, rows, "t", looks[arm], marker="")
    if metric in PERCENT:
        ax.set_ylim(-3, 103)
    else:
        zero_based(ax, stats.loc[stats["metric"] == metric, "high"])


def figure(study: StudyResults, width: float | None = None) -> tuple[Figure, pd.DataFrame]:
    """Every metric against t; arms that differ in the noise factor alone share a panel."""
    stats = statistics(tidy(study))
    metrics = {name: label for name, label in METRICS.items() if (stats["metric"] == name).any()}
    return draw_facets(study, stats, metrics, draw, x_label, width=width, marker=""), stats
