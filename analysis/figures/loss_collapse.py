"""Loss collapse: the objective's terms and the spread of the embeddings over training, per token loss.

A falling loss with shrinking or aligning embeddings (small norm, cosine near 1, low effective rank) is collapse, not
learning. Embeddings are those of the types of training targets, which alone are diffused.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.common import Missing, curve, plain_numbers, seed_range, smooth, zero_based
from analysis.figures.facets import draw_facets
from analysis.figures.layout import Panel
from analysis.load import STEP, StudyResults
from analysis.mixture import mixture_note
from analysis.style import arm_style
from core.run_folder import METRICS as METRICS_FILE

NAME = "loss_collapse"
METRICS = {
    "train/mse": "MSE per\ndimension",
    "train/token": "token loss\n(nats)",
    "train/nll": "$-\\log p(y\\,|\\,\\hat z_0)$\n(nats)",
    "diag/norm_mean": "norm of $z_0$\n(mean)",
    "diag/cosine": "cosine\n(mean)",
    "diag/rank": "effective\nrank",
}
LOG = ("train/mse",)
FROM_ZERO = ("train/mse", "train/token", "train/nll", "diag/norm_mean", "diag/rank")


def x_label(_: StudyResults) -> str:
    """Of the axis."""
    return "training step"


def tidy(study: StudyResults) -> pd.DataFrame:
    """A row per arm, seed, training step and metric."""
    present = [name for name in METRICS if name in study.metrics and study.metrics[name].notna().any()]
    if not present:
        raise Missing(f"no run has training terms in {METRICS_FILE}")
    keys = ["arm", "label", "seed", STEP]
    return study.metrics.melt(id_vars=keys, value_vars=present, var_name="metric").dropna(subset=["value"])


def statistics(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and range over seeds at each step; of what a single batch gives, which is noisy, the smoothed mean too."""
    keys = ["arm", "label", "metric"]
    found = seed_range(frame, [*keys, STEP])
    return found.assign(smooth=smooth(found, keys, STEP).where(found["metric"].str.startswith("train/")))


def draw(ax: Axes, study: StudyResults, stats: pd.DataFrame, panel: Panel, metric: str) -> None:
    """One metric of a panel's arms over training."""
    looks = arm_style(study)
    for arm in panel.arms:
        rows = stats[(stats["arm"] == arm) & (stats["metric"] == metric)]
        if len(rows):
            curve(ax, rows, STEP, looks[arm], marker="")
    own = stats[stats["metric"] == metric]
    if metric in LOG and 0 < 10 * own["low"].min() < own["high"].max():
        ax.set_yscale("log")
        plain_numbers(ax.yaxis)
    elif metric in FROM_ZERO:
        zero_based(ax, own["high"])


def figure(study: StudyResults, width: float | None = None) -> tuple[Figure, pd.DataFrame]:
    """Every metric against the training step; arms that differ in the anchor loss alone share a panel."""
    stats = statistics(tidy(study))
    metrics = {name: label for name, label in METRICS.items() if (stats["metric"] == name).any()}
    what = "" if stats["smooth"].isna().all() else "thin: as logged; thick: averaged over neighbouring steps"
    more = "; ".join(filter(None, (what, mixture_note(study))))
    return draw_facets(study, stats, metrics, draw, x_label, "anchor_loss", width, what=more, marker=""), stats
