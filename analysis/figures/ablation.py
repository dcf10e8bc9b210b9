"""The ablation at a glance: the score of each arm with its interval and every seed, and what each factor adds.

Left, a dot matrix of the toggles and the arms' scores; right, main effects and interactions (a factorial) or the
paired differences to the control arm (other studies). Intervals are t intervals over seeds; with one seed there are
none.
"""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.common import Missing
from analysis.formats import PAGE
from analysis.load import StudyResults
from analysis.results import ablation, comparisons, metric_name, on_levels, short
from analysis.style import GREY, Look, Page, arm_style, banner, seeds_text

NAME = "ablation"


def statistics(study: StudyResults) -> pd.DataFrame:
    """Rows of three kinds: seed (a result), arm (mean, interval), effect or difference (estimate, interval)."""
    table = ablation(study)
    metric = study.metric
    seeds = study.scores[["arm", "label", "seed", metric]].rename(columns={metric: "estimate"}).assign(kind="seed")
    columns = {metric: "estimate", f"{metric}_low": "low", f"{metric}_high": "high"}
    arms = table.rename(columns=columns)[["arm", "label", "estimate", "low", "high", "n_seeds"]].assign(kind="arm")
    tested = comparisons(study)
    frames = [arms, seeds]
    if len(tested):
        tested = tested.rename(columns={"effect": "label", "estimate_low": "low", "estimate_high": "high"})
        kept = ["label", "estimate", "low", "high", "n_seeds", "p_holm", "verdict", "kind"]
        frames.append(tested[[*kept, "arm"] if "arm" in tested else kept])
    return pd.concat(frames, ignore_index=True)


def draw_interval(ax: Axes, y: float, row: pd.Series, look: Look, size: float = 5) -> None:
    """A mean and its interval on line y."""
    if np.isfinite(row["low"]):
        ax.plot([row["low"], row["high"]], [y, y], color=look.color, linewidth=1.4, solid_capstyle="butt", zorder=2)
    face = look.color if look.filled else "white"
    ax.plot(row["estimate"], y, look.marker, color=look.color, markerfacecolor=face, markersize=size, zorder=3)


def draw_arms(ax: Axes, study: StudyResults, stats: pd.DataFrame) -> None:
    """Mean, interval and single seeds of each arm, first arm on top."""
    looks = arm_style(study)
    for i, arm in enumerate(study.arms):
        seeds = stats[(stats["kind"] == "seed") & (stats["arm"] == arm.name)]["estimate"]
        ax.plot(seeds, [i + 0.27] * len(seeds), "|", color=GREY, markersize=5, markeredgewidth=0.9, zorder=4)
        draw_interval(ax, i, stats[(stats["kind"] == "arm") & (stats["arm"] == arm.name)].iloc[0], looks[arm.name])
    ax.set_ylim(len(study.arms) - 0.4, -0.6)
    ax.set_xlim(*limits(stats[stats["kind"].isin(["seed", "arm"])], 0, 100))
    ax.grid(axis="y", visible=False)


def limits(rows: pd.DataFrame, least: float, most: float) -> tuple[float, float]:
    """The range of estimates and intervals with a margin, within what the score can take."""
    values = rows[["estimate", "low", "high"]].to_numpy(dtype=float)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.04 * max(high - low, 1.0)
    return max(low - margin, least - margin), min(high + margin, most + margin)


def draw_toggles(ax: Axes, study: StudyResults) -> None:
    """A matrix of dots, filled where an arm has the factor's "on" level."""
    on = on_levels(study)
    for i, arm in enumerate(study.arms):
        for j, factor in enumerate(study.factors):
            face = GREY if arm.toggles.get(factor) == on[factor] else "white"
            ax.plot(j, i, "o", color=GREY, markerfacecolor=face, markersize=5)
    ax.set_ylim(len(study.arms) - 0.4, -0.6)
    ax.set_xlim(-0.6, len(study.factors) - 0.4)
    names = [short(name) for name in study.factors]
    ax.set_xticks(range(len(names)), names, rotation=45, ha="left", rotation_mode="anchor")
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)


def draw_effects(ax: Axes, rows: pd.DataFrame) -> None:
    """Main effects (dots) and interactions (diamonds) with their intervals around 0."""
    ax.axvline(0, color=GREY, linewidth=0.8)
    for i, (_, row) in enumerate(rows.iterrows()):
        main = row["kind"] == "main"
        draw_interval(ax, i, row, Look("black", "-", "o" if main else "D", main))
    ax.set_yticks(range(len(rows)), [effect_text(label) for label in rows["label"]])
    ax.set_ylim(len(rows) - 0.4, -0.6)


def draw_differences(ax: Axes, study: StudyResults, rows: pd.DataFrame) -> None:
    """Differences to the control with their intervals around 0, each on the line of its arm."""
    looks, names = arm_style(study), [arm.name for arm in study.arms]
    ax.axvline(0, color=GREY, linewidth=0.8)
    for _, row in rows.iterrows():
        draw_interval(ax, names.index(row["arm"]), row, looks[row["arm"]])
    ax.set_yticks(range(len(names)), [])
    ax.set_ylim(len(names) - 0.4, -0.6)


def effect_text(label: str) -> str:
    """An effect's name with short factor names."""
    return " × ".join(short(name) for name in label.split(" x "))


def figure(study: StudyResults, width: float | None = None) -> tuple[Figure, pd.DataFrame]:
    """Toggles, scores and effects beside each other; where the width does not hold that, effects below scores."""
    if study.metric not in study.scores:
        raise Missing(f"no result has {study.metric}")
    stats = statistics(study)
    tested = stats[~stats["kind"].isin(["seed", "arm"])]
    width = width or PAGE
    fig, axes = (_beside if width >= BESIDE else _below)(study, tested, width)
    _fill(axes, study, stats, tested)
    seeds = seeds_text(study)
    what = "1 seed, so no interval" if seeds == "1 seed" else f"mean and 95% t interval over {seeds}; |: one seed"
    banner(fig, study.banner, what)
    return fig, stats


BESIDE = 5.0
"""Inches from which on the panels stand beside each other."""


def _beside(study: StudyResults, tested: pd.DataFrame, width: float) -> tuple[Figure, dict[str, Axes]]:
    """The panels that the study has something for, in a row."""
    matrix = len(study.factors) > 1 and all(len(levels) == 2 for levels in study.factors.values())
    widths = {"toggles": 0.33 * len(study.factors), "arms": 3.0, "effects": 2.4}
    kept = [name for name in widths if (name != "toggles" or matrix) and (name != "effects" or len(tested))]
    height = 0.85 + 0.24 * max(len(study.arms), len(tested), 3)
    fig = Page(figsize=(width, height), layout="constrained")
    drawn = fig.subplots(1, len(kept), width_ratios=[widths[name] for name in kept], squeeze=False)[0]
    return fig, dict(zip(kept, drawn, strict=True))


def _below(study: StudyResults, tested: pd.DataFrame, width: float) -> tuple[Figure, dict[str, Axes]]:
    """Scores above effects, without the matrix of toggles: the arms' names say them."""
    lines = {"arms": len(study.arms)}
    if len(tested):
        lines["effects"] = len(study.arms) if (tested["kind"] == "difference").any() else len(tested)
    heights = [0.5 + 0.19 * max(count, 3) for count in lines.values()]
    fig = Page(figsize=(width, 0.35 + sum(heights)), layout="constrained")
    drawn = fig.subplots(len(lines), 1, height_ratios=heights, squeeze=False)[:, 0]
    return fig, dict(zip(lines, drawn, strict=True))


def _fill(axes: dict[str, Axes], study: StudyResults, stats: pd.DataFrame, tested: pd.DataFrame) -> None:
    """Draw each panel that there is."""
    draw_arms(axes["arms"], study, stats)
    name, labels = metric_name(study), [arm.label for arm in study.arms]
    axes["arms"].set_xlabel(name)
    if "toggles" in axes:
        draw_toggles(axes["toggles"], study)
        axes["arms"].tick_params(left=False, labelleft=False)
    axes["toggles" if "toggles" in axes else "arms"].set_yticks(range(len(labels)), labels)
    if "effects" not in axes:
        return
    ax = axes["effects"]
    if (tested["kind"] == "difference").any():
        draw_differences(ax, study, tested)
        ax.set_xlabel(textwrap.fill(f"{name}, difference to {study.arm(str(study.control)).label}", 20))
        if ax.get_subplotspec().rowspan.start:  # type: ignore[union-attr]
            ax.set_yticks(range(len(labels)), labels)
    else:
        draw_effects(ax, tested)
        ax.set_xlabel(f"effect on {name}")
    ax.grid(axis="y", visible=False)
    ax.xaxis.set_major_locator(MaxNLocator(6))
