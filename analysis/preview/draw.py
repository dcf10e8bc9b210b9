"""One panel of a workspace as a small plot, by its kind. Each function: (axes, study, panel), or Missing."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from analysis.figures.common import Missing, curve, plain_numbers, seed_range
from analysis.load import STEP, Study
from analysis.preview import data
from analysis.preview.spec import Panel
from analysis.results import level_text
from analysis.style import GREY, arm_style

AXES = {STEP: "training step", "per_step/t": "t", "by_steps/steps": "decoding steps"}
BAR = "#56B4E9"
TAG: dict[str, Any] = {"fontsize": 7, "zorder": 5, "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1.0}}


def line(ax: Axes, study: Study, panel: Panel) -> None:
    """Mean over runs with the range, an arm a line."""
    x, metric = panel.config["xAxis"], panel.config["metrics"][0]
    tidy = data.curves(study, x, metric)
    _some(tidy, metric)
    stats, looks = seed_range(tidy, ["arm", "label", "x"]), arm_style(study)
    for arm in study.arms:
        rows = stats[stats["arm"] == arm.name]
        if len(rows):
            curve(ax, rows, "x", looks[arm.name], marker="" if len(rows) > 8 else looks[arm.name].marker)
    if panel.config.get("yLogScale") and stats["low"].min() > 0:
        logarithmic(ax)
    if panel.config.get("xLogScale"):
        ax.set_xscale("log")
        ticks = sorted(stats["x"].unique())
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(AXES.get(x, x))


def logarithmic(ax: Axes) -> None:
    """A logarithmic vertical axis."""
    ax.set_yscale("log")
    plain_numbers(ax.yaxis)


def bars(ax: Axes, study: Study, panel: Panel) -> None:
    """Mean over runs with the range: a bar for each arm, or for each level of a toggle."""
    metric, key = panel.config["metrics"][0], panel.config["groupBy"].removesuffix(".value")
    frame = data.summary(study, metric)
    _some(frame, metric)
    if key == "label":
        groups = [(arm.label, frame["arm"] == arm.name, arm_style(study)[arm.name].color) for arm in study.arms]
    else:
        toggles = frame["arm"].map(lambda arm: study.arm(arm).toggles.get(key))
        groups = [(level_text(key, level), toggles == level, BAR) for level in study.factors.get(key, [])]
    for place, (_, rows, color) in enumerate(groups):
        values = frame.loc[rows, "value"]
        if len(values):
            mean = values.mean()
            reach = [[max(0.0, mean - values.min())], [max(0.0, values.max() - mean)]]  # a mean of equals may be off
            ax.barh(place, mean, color=color, height=0.72, xerr=reach, error_kw={"ecolor": GREY, "linewidth": 1})
    ax.set_yticks(range(len(groups)), [label for label, _, _ in groups])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(metric)


def scatter(ax: Axes, study: Study, panel: Panel) -> None:
    """A point for each run."""
    x, y = data.accessor(study, panel.config["xAxis"]), data.accessor(study, panel.config["yAxis"])
    shown = np.isfinite(x) & np.isfinite(y)
    if not shown.any():
        raise Missing("no values")
    for arm in study.arms:
        rows = shown & (study.scores["arm"] == arm.name)
        ax.plot(x[rows], y[rows], **arm_style(study)[arm.name].line(linestyle="", markersize=5))
    ax.set_xlabel(panel.config["xAxis"].partition(":")[2])
    ax.set_ylabel(panel.config["yAxis"].partition(":")[2])


def parallel(ax: Axes, study: Study, panel: Panel) -> None:
    """A line for each run through its toggles and its score, all scaled to the same height."""
    columns = panel.config["columns"]
    values = pd.DataFrame({i: data.accessor(study, column["accessor"]) for i, column in enumerate(columns)})
    low, high = values.min(), values.max()
    scaled = (values - low) / (high - low).replace(0, 1)
    looks = arm_style(study)
    for row, arm in enumerate(study.scores["arm"]):
        ax.plot(
            range(len(columns)), scaled.iloc[row], color=looks[arm].color, linestyle=looks[arm].linestyle, alpha=0.8
        )
    for i, column in enumerate(columns):
        ax.axvline(i, color=GREY, linewidth=0.8)
        for height, text in _marks(study, column["accessor"], float(low[i]), float(high[i])):
            ax.annotate(text, (i, height), (4, 0), textcoords="offset points", va="center", color=GREY, **TAG)
    ax.set_xticks(range(len(columns)), [column.get("displayName") or column["accessor"] for column in columns])
    ax.set_yticks([])
    ax.grid(visible=False)
    ax.set_xlim(-0.2, len(columns) - 0.5)
    ax.set_ylim(-0.12, 1.12)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _marks(study: Study, accessor: str, low: float, high: float) -> list[tuple[float, str]]:
    """Height in [0, 1] and text of the marks on one axis."""
    section, _, key = accessor.partition(":")
    if section == "summary":
        return [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")]
    levels = data.ordered(study.factors.get(key.removesuffix(".value"), []))
    return [(i / max(1, len(levels) - 1), _level(level)) for i, level in enumerate(levels)]


def _level(level: Any) -> str:
    return str(level).lower() if isinstance(level, bool) else f"{level:g}" if isinstance(level, float) else str(level)


def importance(ax: Axes, study: Study, panel: Panel) -> None:
    """The share of the scores' variance between the levels of each toggle (W&B's page computes its own measure)."""
    frame = data.summary(study, panel.config["targetKey"])
    _some(frame, panel.config["targetKey"])
    for place, factor in enumerate(study.factors):
        levels = frame["arm"].map(lambda arm, factor=factor: repr(study.arm(arm).toggles.get(factor)))
        ax.barh(place, data.between(frame["value"], levels), color=BAR, height=0.6)
    ax.set_xlim(0, 1)
    ax.set_yticks(range(len(study.factors)), [name.replace("_", " ") for name in study.factors])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("share of variance (W&B's page: random forest)")


def histogram(ax: Axes, study: Study, panel: Panel) -> None:
    """The distribution of norms, an arm an outline."""
    norms = data.norms(study, panel.config["mediaKeys"][0].partition("/")[2])
    if not norms:
        raise Missing("no run has norms in probes.npz")
    looks = arm_style(study)
    everything = np.concatenate(list(norms.values()))
    edges = np.histogram_bin_edges(everything, 40).tolist()
    for arm, values in norms.items():
        ax.hist(values, edges, histtype="step", color=looks[arm].color, linestyle=looks[arm].linestyle, density=True)
    logarithmic(ax)
    ax.set_xlabel("norm of a type")
    ax.set_ylabel("density")


def _some(frame: pd.DataFrame, metric: str) -> None:
    if frame.empty:
        raise Missing(f"no run has {metric}")


KINDS = {
    "Run History Line Plot": line,
    "Bar Chart": bars,
    "Scatter Plot": scatter,
    "Parallel Coordinates Plot": parallel,
    "Parameter Importance": importance,
    "Media Browser": histogram,
}
