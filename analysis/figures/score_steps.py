"""Quality against decoding effort: BLEU over the number of steps K, and over the time it took."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.by_calls import varies_calls
from analysis.figures import score_calls
from analysis.figures.common import Missing, curve, log_ticks, seed_range, zero_based
from analysis.figures.facets import draw_facets
from analysis.figures.layout import Panel
from analysis.load import StudyResults
from analysis.style import arm_style
from core.run_folder import SCORES

NAME = "score_steps"
AXES = {"steps": "decoding steps K", "ms": "decoding time\n(ms per sentence)"}


METRICS = dict.fromkeys(AXES, "BLEU")


def x_label(_: StudyResults) -> str:
    """None for all: each panel has its own."""
    return ""


def tidy(study: StudyResults) -> pd.DataFrame:
    """A row per arm, seed and K: BLEU as value, network calls, milliseconds per sentence (NaN if not recorded)."""
    frame = study.steps.rename(columns={"bleu": "value"}).dropna(subset=["steps", "value"])
    if frame.empty:
        raise Missing(f"no run was decoded with several numbers of steps (by_steps in {SCORES})")
    return frame.assign(ms=1000 * frame["seconds"] / frame["sentences"])


def statistics(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and range of BLEU over seeds at each K, with the mean time and calls."""
    keys = ["arm", "label", "steps"]
    cost = frame.groupby(keys, sort=False)[["calls", "ms"]].mean().reset_index()
    return seed_range(frame, keys).merge(cost, on=keys)


def draw(ax: Axes, study: StudyResults, stats: pd.DataFrame, panel: Panel, x: str) -> None:
    """BLEU of a panel's arms over K or time, on a logarithmic axis."""
    looks = arm_style(study)
    for arm in panel.arms:
        rows = stats[(stats["arm"] == arm) & (stats[x] > 0)]
        if len(rows):
            curve(ax, rows, x, looks[arm])
    if (stats[x] > 0).any():
        ax.set_xscale("log")
    log_ticks(ax, stats["steps"] if x == "steps" else None)
    zero_based(ax, stats["high"])
    ax.set_xlabel(AXES[x])


def figure(study: StudyResults, width: float | None = None) -> tuple[Figure, pd.DataFrame]:
    """BLEU over K and over time; arms that differ in the noise factor alone share a panel.

    Of a study that varies network calls, the score of its arms over these and over time.
    """
    if varies_calls(study):
        return score_calls.figure(study, width)
    stats = statistics(tidy(study))
    kept = {x: label for x, label in METRICS.items() if (stats[x] > 0).any()}
    return draw_facets(study, stats, kept, draw, x_label, width=width, common_x=False), stats
