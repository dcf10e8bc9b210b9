"""Quality against network calls and against time, of a study that varies the calls: one curve for all arms that differ
in nothing else. Drawn in place of the curves of `score_steps`, whose points each run has by itself."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.by_calls import CALLS, cost, cost_name, kind_text
from analysis.figures.common import curve, log_ticks, seed_range, zero_based
from analysis.figures.facets import draw_facets
from analysis.figures.layout import Panel
from analysis.load import ArmResults, StudyResults
from analysis.results import metric_name
from analysis.style import arm_style

LEAST_SPAN = 0.1
"""Of the y axis, as a share of the highest score: what lies closer together than that looks so."""


def tidy(study: StudyResults) -> pd.DataFrame:
    """A row per arm and seed: the study's metric as value, network calls, milliseconds per sentence (NaN: unknown)."""
    toggles = {arm.name: arm.toggles for arm in study.arms}
    frame = study.scores[["arm", "label", "seed"]].assign(
        kind=[kind_text(study, toggles[arm]) for arm in study.scores["arm"]],
        calls=[toggles[arm].get(CALLS) for arm in study.scores["arm"]],
        ms=cost(study),
        value=pd.to_numeric(study.scores[study.metric], errors="coerce"),
    )
    return frame


def statistics(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and range of the score over seeds for each arm, with its calls and mean time."""
    keys = ["arm", "label", "kind", "calls"]
    spent = frame.groupby(keys, sort=False)["ms"].mean().reset_index()
    return seed_range(frame, keys).merge(spent, on=keys)


def by_kind(study: StudyResults) -> StudyResults:
    """The study with one arm for all that differ in calls alone."""
    described = study.info.get("arms") or [{"name": arm.name, "toggles": arm.toggles} for arm in study.arms]
    kinds = {arm["name"]: kind_text(study, arm.get("toggles") or {}) for arm in described}
    names = list(dict.fromkeys(kinds.values()))
    info: dict[str, Any] = study.info | {"no_verdict": study.no_verdict, "control": None}
    info["arms"] = [{"name": name, "label": name, "toggles": {"kind": name}} for name in names]
    arms = tuple(ArmResults(name, name, {"kind": name}) for name in names)
    scores = study.scores.assign(arm=study.scores["arm"].map(kinds))
    return replace(study, info=info, arms=arms, factors={"kind": names}, scores=scores)


def draw(ax: Axes, study: StudyResults, stats: pd.DataFrame, panel: Panel, x: str) -> None:
    """Scores over calls or time, on a logarithmic axis."""
    looks = arm_style(study)
    for kind in panel.arms:
        rows = stats[(stats["arm"] == kind) & (stats[x] > 0)]
        if len(rows):
            curve(ax, rows, x, looks[kind])
    ax.set_xscale("log")
    log_ticks(ax, stats["calls"] if x == "calls" else None)
    low, high = float(np.nanmin(stats["low"])), float(np.nanmax(stats["high"]))
    middle, half = (low + high) / 2, max(high - low, LEAST_SPAN * abs(high)) * 0.55
    if half:
        ax.set_ylim(middle - half, middle + half)
    else:
        zero_based(ax, stats["high"])
    ax.set_xlabel("network calls" if x == "calls" else f"decoding, {cost_name(study)}\nper sentence")


def figure(study: StudyResults, width: float | None = None) -> tuple[Figure, pd.DataFrame]:
    """The score over calls and over time."""
    stats = statistics(tidy(study))
    kinds = by_kind(study)
    drawn = stats.assign(arm=stats["kind"], label=stats["kind"])
    shown = {x: metric_name(study) for x in ("calls", "ms") if (stats[x] > 0).any()}
    return draw_facets(kinds, drawn, shown, draw, lambda _: "", width=width, common_x=False), stats
