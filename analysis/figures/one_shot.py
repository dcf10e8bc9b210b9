"""One-shot from noise against along the trajectory (Figure 5 of the paper's second version).

Dashed: the prediction z_0_hat from pure noise fed at each t. Solid: z_0_hat at each t within one generation run. Where
dashed falls off as t -> 0 the network trusts z_t and ignores the source.
"""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.common import Missing, curve, probe_curves, seed_range, t_label, zero_based
from analysis.figures.facets import draw_facets
from analysis.figures.layout import Panel
from analysis.load import StudyResults
from analysis.style import arm_style
from core.run_folder import PROBES

NAME = "one_shot"
METRICS = {"bleu": "BLEU", "accuracy": "accuracy (%)"}
MODES = {"oneshot": "dashed: from pure noise", "along": "solid: along the trajectory"}
x_label = t_label
LINES: dict[str, Any] = {"oneshot": (0, (3, 1.2)), "along": "-"}


def tidy(study: StudyResults) -> pd.DataFrame:
    """A row per arm, seed, mode (oneshot or along), metric and t; accuracy in percent."""
    frames = []
    for mode, x in (("oneshot", "fig5_t"), ("along", "along_t")):
        frame = probe_curves(study, x, {f"{mode}_{metric}": metric for metric in METRICS})
        frames.append(frame.rename(columns={x: "t"}).assign(mode=mode))
    frame = pd.concat([each for each in frames if len(each)], ignore_index=True) if any(map(len, frames)) else None
    if frame is None:
        raise Missing(f"no run has one-shot curves in {PROBES}")
    return frame.assign(value=frame["value"].where(frame["metric"] != "accuracy", 100 * frame["value"]))


def statistics(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and range over seeds at each t."""
    return seed_range(frame, ["arm", "label", "mode", "metric", "t"])


def draw(ax: Axes, study: StudyResults, stats: pd.DataFrame, panel: Panel, metric: str) -> None:
    """Both curves of each arm of a panel."""
    looks = arm_style(study)
    for arm in panel.arms:
        for mode in MODES:
            rows = stats[(stats["arm"] == arm) & (stats["metric"] == metric) & (stats["mode"] == mode)]
            if len(rows):
                curve(ax, rows, "t", looks[arm], linestyle=LINES[mode], markersize=3)
    zero_based(ax, stats.loc[stats["metric"] == metric, "high"])


def figure(study: StudyResults, width: float | None = None) -> tuple[Figure, pd.DataFrame]:
    """BLEU and accuracy against t; arms that differ in the noise factor alone share a panel."""
    stats = statistics(tidy(study))
    metrics = {name: label for name, label in METRICS.items() if (stats["metric"] == name).any()}
    what = "; ".join(text for mode, text in MODES.items() if (stats["mode"] == mode).any())
    legend: dict[str, Any] = {"linestyle": "none", "markersize": 5}
    return draw_facets(study, stats, metrics, draw, x_label, width=width, what=what, **legend), stats
