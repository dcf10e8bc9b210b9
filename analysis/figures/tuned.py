"""Each arm at the default and at its own best, and the effects at either: what tuning changes about the answer.

Left, a pair of means with their intervals for each arm (open: default; filled: own best); right, the same for the
effects of a factorial. Intervals are t intervals over the study's seeds.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.ablation import draw_interval, draw_seeds, few_ticks, limits
from analysis.figures.common import Missing
from analysis.figures.layout import banner, legend, note_height
from analysis.formats import PAGE
from analysis.judging import bounds
from analysis.power_note import seeds_seen
from analysis.results import NAMES, effect_name
from analysis.searches import Search
from analysis.stats import SHOWN
from analysis.style import GREY, Look, arm_style
from analysis.style_sheet import Page
from analysis.tested import values_of

NAME = "tuned"
WHEN = {"default": "all arms at the default", "best": "each arm at its own best"}
OFFSET = 0.17


def statistics(found: Search) -> pd.DataFrame:
    """A row per arm (kind arm) or effect (kind main, interaction) and per `when` (default, best)."""
    rows = []
    for when in WHEN:
        for _, arm in found.arms.iterrows():
            row = {"kind": "arm", "arm": arm["arm"], "label": arm["label"], "when": when, "n": arm[f"{when}_n"]}
            row |= {"estimate": arm[when], "low": arm[f"{when}_low"], "high": arm[f"{when}_high"]}
            rows.append(row | {"estimate_values": arm[f"{when}_values"]})
        for _, effect in found.effects.iterrows():
            row = {"kind": effect["kind"], "arm": "", "label": effect["effect"], "when": when}
            row |= {"n": effect[f"n_seeds_{when}"], "verdict": effect[f"verdict_{when}"]}
            ends = {"estimate": "estimate", "low": "estimate_low", "high": "estimate_high"}
            ends |= {"estimate_values": "estimate_values"}
            rows.append(row | {name: effect[f"{column}_{when}"] for name, column in ends.items()})
    frame = pd.DataFrame(rows)
    shown = frame["n"] >= SHOWN
    return frame.assign(low=frame["low"].where(shown), high=frame["high"].where(shown))


def draw_pairs(ax: Axes, rows: pd.DataFrame, looks: dict[str, Look], within: tuple[float, float]) -> None:
    """One line for each label: default above, own best below, and the way from one to the other.

    Of two seeds both values in place of an interval.
    """
    labels = list(dict.fromkeys(rows["label"]))
    for i, label in enumerate(labels):
        pair = {when: rows[(rows["label"] == label) & (rows["when"] == when)].iloc[0] for when in WHEN}
        look = looks.get(pair["best"]["arm"], Look("black", "-", "o", True))
        ends = [pair[when]["estimate"] for when in WHEN]
        ax.plot(ends, [i - OFFSET, i + OFFSET], color=look.color, linewidth=0.7, linestyle=(0, (1, 1)), zorder=1)
        for when, shift in (("default", -OFFSET), ("best", OFFSET)):
            if np.isfinite(pair[when]["estimate"]):
                draw_interval(ax, i + shift, pair[when], look._replace(filled=when == "best"), within=within)
                if pair[when]["n"] < SHOWN:
                    draw_seeds(ax, i + shift, pd.Series(values_of(pair[when], "estimate"), dtype=float), below=0)
    ax.set_yticks(range(len(labels)))
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    few_ticks(ax)


def figure(found: Search) -> tuple[Figure, pd.DataFrame]:
    """Arms, and effects where there are any, on page width."""
    if found.default is None or found.best is None:
        raise Missing("the arms have not run at the default and at their own best yet")
    stats = statistics(found)
    arms, effects = stats[stats["kind"] == "arm"], stats[stats["kind"] != "arm"]
    height = 0.95 + note_height(0.2) + 0.3 * max(len(found.arms), len(found.effects), 2)
    fig = Page(figsize=(PAGE, height), layout="constrained")
    axes = fig.subplots(1, 2 if len(effects) else 1, squeeze=False)[0]
    name, within = NAMES.get(found.metric, found.metric), bounds(found.metric)
    draw_pairs(axes[0], arms, arm_style(found.default), within)
    axes[0].set_yticklabels(list(found.arms["label"]))
    axes[0].set_xlabel(f"{name}, test set")
    axes[0].set_xlim(*limits(arms, *within))
    if len(effects):
        axes[1].axvline(0, color=GREY, linewidth=0.8)
        draw_pairs(axes[1], effects, {}, (-np.inf, np.inf))
        axes[1].set_yticklabels([effect_name(found.default, label) for label in dict.fromkeys(effects["label"])])
        axes[1].set_xlabel(f"effect on {name}")
    handles = [
        Line2D([], [], color="black", marker="o", markerfacecolor="black" if when == "best" else "white", label=label)
        for when, label in WHEN.items()
    ]
    legend(fig, handles)
    few = stats["low"].isna().all()
    spread = "mean, and both values of two seeds," if few else "mean and 95% t interval"
    banner(fig, found.banner, f"{spread} over {seeds_seen(stats['n'])}")
    return fig, stats
