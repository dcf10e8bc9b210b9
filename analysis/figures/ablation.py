"""The ablation at a glance: the score of each arm with its interval and every seed, and what each factor adds.

Left, a dot matrix of the toggles and the arms' scores; right, main effects and interactions (a factorial) or the
paired differences to the control arm (other studies). Intervals are t intervals over seeds, from three seeds on
(`stats.SHOWN`); of two, both values are drawn. Effects are those of the whole study, whichever arms are chosen; of a
study with groups the main effects in each group and in their mean.
"""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from analysis.choices import chosen, chosen_panels
from analysis.effects import group_names, two_level
from analysis.figures.common import Missing, part_of
from analysis.figures.group_effects import drawn_effects, label_lines, lines
from analysis.figures.layout import banner, note_height
from analysis.formats import PAGE
from analysis.judging import bounds, floors
from analysis.levels import on_levels, short
from analysis.load import StudyResults
from analysis.results import (
    ablation,
    comparisons,
    effect_name,
    metric_name,
    seeds_text,
)
from analysis.stats import SHOWN
from analysis.style import GREY, Look, arm_style
from analysis.style_sheet import Page
from analysis.tested import values_of

NAME = "ablation"
PANELS = dict.fromkeys(("toggles", "arms", "effects"), "")
WHOLE = True
"""It is given the whole study, also where only some arms are to be drawn."""


def statistics(study: StudyResults) -> pd.DataFrame:
    """Rows of kinds: arm (mean, interval), seed (a result), main, interaction or difference (estimate, interval).

    Of two seeds there is no interval; those of effects are rows of the kind "seed of" and the effect's.
    """
    table = ablation(study)
    metric = study.metric
    seeds = study.scores[["arm", "label", "seed", metric]].rename(columns={metric: "estimate"}).assign(kind="seed")
    columns = {metric: "estimate", f"{metric}_low": "low", f"{metric}_high": "high"}
    arms = table.rename(columns=columns)[["arm", "label", "estimate", "low", "high", "n_seeds"]].assign(kind="arm")
    tested = comparisons(study)
    frames = [arms, seeds]
    if len(tested):
        tested = tested.rename(columns={"effect": "label", "estimate_low": "low", "estimate_high": "high"})
        tested = drawn_effects(tested)
        kept = ["label", "estimate", "low", "high", "n_seeds", "p_holm", "verdict", "kind"]
        frames.append(tested[kept + [name for name in ("arm", "group") if name in tested]])
        few = tested[tested["n_seeds"].between(2, SHOWN - 1)]
        own = few.assign(estimate=[values_of(row, "estimate") for _, row in few.iterrows()]).explode("estimate")
        own = own.assign(estimate=own["estimate"].astype(float), kind="seed of " + own["kind"].astype(str))
        frames += (
            [own[[name for name in ("label", "arm", "group", "estimate", "kind") if name in own]]] if len(own) else []
        )
    found = pd.concat(frames, ignore_index=True)
    shown = found["n_seeds"] >= SHOWN
    return found.assign(low=found["low"].where(shown), high=found["high"].where(shown))


def draw_interval(
    ax: Axes, y: float, row: pd.Series, look: Look, within: tuple[float, float] = (-np.inf, np.inf)
) -> None:
    """A mean and its interval on line y, cut at what the score can be."""
    if np.isfinite(row["low"]):
        ends = np.clip([row["low"], row["high"]], *within)
        ax.plot(ends, [y, y], color=look.color, linewidth=1.4, solid_capstyle="butt", zorder=2)
    face = look.color if look.filled else "white"
    ax.plot(row["estimate"], y, look.marker, color=look.color, markerfacecolor=face, markersize=5, zorder=3)


def draw_arms(ax: Axes, study: StudyResults, stats: pd.DataFrame) -> None:
    """Mean, interval and single seeds of each arm, first arm on top."""
    looks, within = arm_style(study), bounds(study.metric)
    for i, arm in enumerate(study.arms):
        own = stats[stats["arm"] == arm.name]
        draw_seeds(ax, i, own[own["kind"] == "seed"]["estimate"])
        draw_interval(ax, i, own[own["kind"] == "arm"].iloc[0], looks[arm.name], within=within)
    ax.set_ylim(len(study.arms) - 0.4, -0.6)
    ax.set_xlim(*score_limits(study, stats))
    if (floor := floor_within(study, stats)) is not None:
        ax.axvline(floor, color=GREY, linestyle=(0, (1, 1)), linewidth=1, zorder=1)
    ax.grid(axis="y", visible=False)


def draw_seeds(ax: Axes, y: float, values: "pd.Series[float]", below: float = 5.5) -> None:
    """Each seed as a small point, so many points of print below line y."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    moved = ax.transData + ScaledTranslation(0, -below / 72, figure.dpi_scale_trans)
    ax.plot(values, [y] * len(values), "o", color=GREY, markersize=2.2, markeredgewidth=0, zorder=4, transform=moved)


def limits(rows: pd.DataFrame, least: float, most: float) -> tuple[float, float]:
    """The range of estimates and intervals with a margin, within what the score can take."""
    values = rows[["estimate", "low", "high"]].to_numpy(dtype=float)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.04 * max(high - low, min(1.0, abs(high) or 1.0))
    return max(low - margin, least - margin), min(high + margin, most + margin)


FLOOR = "dotted: one and the same output for every sentence"
"""What the line in the panel of scores is."""


def score_limits(study: StudyResults, stats: pd.DataFrame) -> tuple[float, float]:
    """The range of the panel of scores."""
    return limits(stats[stats["kind"].isin(["seed", "arm"])], *bounds(study.metric))


def floor_within(study: StudyResults, stats: pd.DataFrame) -> float | None:
    """What one and the same output for every sentence gets, if the panel of scores reaches down to it."""
    values = floors(study.scores, study.metric)
    return float(values.max()) if len(values) and values.max() > score_limits(study, stats)[0] else None


def draw_toggles(ax: Axes, study: StudyResults) -> None:
    """A matrix of dots, filled where an arm has the factor's "on" level."""
    on, factors = on_levels(study), list(two_level(study))
    for i, arm in enumerate(study.arms):
        for j, factor in enumerate(factors):
            face = GREY if arm.toggles.get(factor) == on[factor] else "white"
            ax.plot(j, i, "o", color=GREY, markerfacecolor=face, markersize=5)
    ax.set_ylim(len(study.arms) - 0.4, -0.6)
    ax.set_xlim(-0.6, len(factors) - 0.4)
    names = [short(name) for name in factors]
    ax.set_xticks(range(len(names)), names, rotation=45, ha="left", rotation_mode="anchor")
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)


def draw_effects(ax: Axes, study: StudyResults, rows: pd.DataFrame) -> None:
    """Main effects (dots) and interactions (diamonds) with their intervals around 0."""
    ax.axvline(0, color=GREY, linewidth=0.8)
    if study.groups:
        return draw_groups(ax, study, rows)
    named = tested_only(rows)
    for i, (_, row) in enumerate(named.iterrows()):
        main = row["kind"] == "main"
        draw_interval(ax, i, row, Look("black", "-", "o" if main else "D", main))
        draw_seeds(ax, i, rows[rows["kind"].str.startswith("seed") & (rows["label"] == row["label"])]["estimate"])
    ax.set_yticks(range(len(named)), [effect_name(study, label) for label in named["label"]])
    ax.set_ylim(len(named) - 0.4, -0.6)


def draw_groups(ax: Axes, study: StudyResults, rows: pd.DataFrame) -> None:
    """The main effects of a study with groups, each in a block: in the groups (dots) and in their mean (square)."""
    found, groups = lines(study, tested_only(rows)), group_names(study)
    for line in found:
        if line.row is None:
            continue
        draw_interval(ax, line.place, line.row, Look("black", "-", "o" if line.name in groups else "s", True))
        own = (rows["label"] == line.row["label"]) & (rows["group"] == line.name)
        draw_seeds(ax, line.place, rows[own & rows["kind"].str.startswith("seed")]["estimate"])
    label_lines(ax, found)


def few_ticks(ax: Axes) -> None:
    """Values on the x axis, fewer where they have decimals."""
    low, high = ax.get_xlim()
    ax.xaxis.set_major_locator(MaxNLocator(6 if high - low > 2 else 3))


def draw_differences(ax: Axes, study: StudyResults, rows: pd.DataFrame) -> None:
    """Differences to the control with their intervals around 0, each on the line of its arm."""
    looks, names = arm_style(study), [arm.name for arm in study.arms]
    ax.axvline(0, color=GREY, linewidth=0.8)
    for _, row in rows[rows["arm"].isin(names)].iterrows():
        at = names.index(row["arm"])
        if row["kind"] == "difference":
            draw_interval(ax, at, row, looks[row["arm"]])
        else:
            draw_seeds(ax, at, pd.Series([row["estimate"]]))
    ax.set_yticks(range(len(names)), [])
    ax.set_ylim(len(names) - 0.4, -0.6)


def figure(study: StudyResults, width: float | None = None) -> tuple[Figure, pd.DataFrame]:
    """Toggles, scores and effects beside each other; where the width does not hold that, effects below scores."""
    if study.metric not in study.scores:
        raise Missing(f"no result has {study.metric}")
    stats, whole = statistics(study), study
    study = part_of(study, chosen().arms)
    names = [arm.name for arm in study.arms]
    stats = stats[stats["arm"].isin(names) | stats["arm"].isna()] if "arm" in stats else stats
    tested = stats[~stats["kind"].isin(["seed", "arm"])]
    width = width or PAGE
    fig, axes = (_beside if width >= BESIDE else _below)(study, tested, width)
    control = whole.arm(whole.control).label if whole.control else ""
    _fill(axes, study, stats, tested, control)
    dotted = "arms" in axes and floor_within(study, stats) is not None
    banner(fig, study.banner, shown_text(study, stats), *[FLOOR] * dotted)
    return fig, stats


def shown_text(study: StudyResults, stats: pd.DataFrame) -> str:
    """What marks, bars and points are."""
    seeds, points = seeds_text(study), "small points: single seeds"
    if stats["low"].isna().all():
        return (
            "1 seed, so no interval" if seeds == "1 seed" else f"mean over {seeds}, too few for an interval; {points}"
        )
    low, high = bounds(study.metric)
    drawn = stats[stats["kind"] == "arm"]
    cut = f", cut at {low:g} and {high:g}" if (drawn["low"] < low).any() or (drawn["high"] > high).any() else ""
    some = "; none of two seeds" if (drawn["n_seeds"] == SHOWN - 1).any() else ""
    return f"mean and 95% t interval over {seeds}{cut}{some}; {points}"


BESIDE = 5.0
"""Inches from which on the panels stand beside each other."""


def _beside(study: StudyResults, tested: pd.DataFrame, width: float) -> tuple[Page, dict[str, Axes]]:
    """The panels that the study has something for, in a row."""
    factors = two_level(study)
    matrix = len(study.factors) > 1 and all(len(levels) == 2 for levels in factors.values())
    widths = {"toggles": 0.33 * len(factors) * max(1, PAGE / width), "arms": 3.0, "effects": 2.4}
    there = {"toggles": matrix, "arms": True, "effects": len(tested) > 0}
    kept = [name for name in chosen_panels(PANELS) if there[name]] or ["arms"]
    counts = {"effects": 0 if is_differences(tested) else count_lines(study, tested)}
    height = 0.65 + note_height(0.2) + 0.24 * max(3, *(counts.get(name, len(study.arms)) for name in kept))
    fig = Page(figsize=(width, height), layout="constrained")
    drawn = fig.subplots(1, len(kept), width_ratios=[widths[name] for name in kept], squeeze=False)[0]
    return fig, dict(zip(kept, drawn, strict=True))


def _below(study: StudyResults, tested: pd.DataFrame, width: float) -> tuple[Page, dict[str, Axes]]:
    """Scores above effects, without the matrix of toggles: the arms' names say them."""
    counts = {"arms": len(study.arms)}
    if len(tested):
        counts["effects"] = len(study.arms) if is_differences(tested) else count_lines(study, tested)
    counts = {name: counts[name] for name in chosen_panels(PANELS) if name in counts} or counts
    heights = [0.5 + 0.19 * max(count, 3) for count in counts.values()]
    fig = Page(figsize=(width, 0.15 + note_height(0.2) + sum(heights)), layout="constrained")
    drawn = fig.subplots(len(counts), 1, height_ratios=heights, squeeze=False)[:, 0]
    return fig, dict(zip(counts, drawn, strict=True))


def count_lines(study: StudyResults, tested: pd.DataFrame) -> int:
    """Lines of the panel of effects."""
    return len(lines(study, tested_only(tested)) if study.groups else tested_only(tested))


def is_differences(tested: pd.DataFrame) -> bool:
    """Whether what was tested are differences to the control, one for each arm."""
    return bool((tested["kind"] == "difference").any())


def tested_only(tested: pd.DataFrame) -> pd.DataFrame:
    """The rows of effects or differences without those of single seeds."""
    return tested[~tested["kind"].str.startswith("seed")]


def _fill(axes: dict[str, Axes], study: StudyResults, stats: pd.DataFrame, tested: pd.DataFrame, control: str) -> None:
    """Draw each panel that there is; the first one of arms has their names."""
    name, labels = metric_name(study), [arm.label for arm in study.arms]
    if "toggles" in axes:
        draw_toggles(axes["toggles"], study)
    if "arms" in axes:
        draw_arms(axes["arms"], study, stats)
        axes["arms"].set_xlabel(name)
    named = next((panel for panel in ("toggles", "arms") if panel in axes), "")
    if named == "toggles" and "arms" in axes:
        axes["arms"].tick_params(left=False, labelleft=False)
    if named:
        axes[named].set_yticks(range(len(labels)), labels)
    if "effects" not in axes:
        return
    ax = axes["effects"]
    if is_differences(tested):
        draw_differences(ax, study, tested)
        words = f"{name}, difference to {'its own control' if study.groups else control}"
        ax.set_xlabel(words if len(words) <= 24 else textwrap.fill(words, 20))
        if not named or ax.get_subplotspec().rowspan.start:  # type: ignore[union-attr]
            ax.set_yticks(range(len(labels)), labels)
    else:
        draw_effects(ax, study, tested)
        ax.set_xlabel(f"effect on {name}")
    ax.grid(axis="y", visible=False)
    low, high = limits(tested, -np.inf, np.inf)
    ax.set_xlim(min(low, *ax.get_xlim()), max(high, *ax.get_xlim()))  # the points of seeds do not scale an axis
    few_ticks(ax)
