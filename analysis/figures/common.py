"""What several figures share: means over seeds with their range, curves, axes, and the error of missing data."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from analysis.load import StudyResults
from analysis.style import Look
from analysis.tall import under_heads


class Missing(Exception):
    """The study does not hold what a figure needs; the message says what."""


def seed_range(tidy: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Mean, smallest and largest `value` over seeds for each combination of keys, and how many seeds.

    tidy has the columns keys, seed, value; rows without a value do not count.
    """
    finite = tidy[np.isfinite(tidy["value"].to_numpy(dtype=float))]
    grouped = finite.groupby(keys, sort=False)["value"]
    return grouped.agg(mean="mean", low="min", high="max", n_seeds="count").reset_index()


SMOOTHED = 8
"""Rows of a curve over the rows that a smooth value is the mean of."""


def smooth(stats: pd.DataFrame, keys: list[str], x: str) -> "pd.Series[float]":
    """The mean over seeds, averaged over its neighbours along x, an eighth of the curve: for noisy curves."""

    def averaged(curve: "pd.Series[float]") -> "pd.Series[float]":
        window = 2 * (len(curve) // SMOOTHED // 2) + 1
        return curve.rolling(window, center=True, min_periods=1).mean()

    found: pd.Series[float] = stats.sort_values(x).groupby(keys, sort=False)["mean"].transform(averaged)
    return found.reindex(stats.index)


def curve(ax: Axes, rows: pd.DataFrame, x: str, look: Look, **changes: Any) -> None:
    """The mean over seeds as a line, the range as a band; where there is a smooth line too, the mean is faint."""
    rows = rows.sort_values(x)
    xs = rows[x].to_numpy(dtype=float)
    if (rows["n_seeds"] > 1).any():
        low, high = rows["low"].to_numpy(dtype=float), rows["high"].to_numpy(dtype=float)
        ax.fill_between(xs, low, high, color=look.color, alpha=0.18, linewidth=0)
    line = rows["mean"].to_numpy(dtype=float)
    if "smooth" in rows and rows["smooth"].notna().any():
        ax.plot(xs, line, color=look.color, linewidth=0.5, alpha=0.45)
        line = rows["smooth"].to_numpy(dtype=float)
    ax.plot(xs, line, **look.line(**changes))


def zero_based(ax: Axes, highest: pd.Series) -> None:
    """A y axis from 0 to the highest value of all panels, with room for lines that lie on 0."""
    top = float(np.nanmax(highest.to_numpy(dtype=float), initial=0.0)) or 1.0
    ax.set_ylim(-0.03 * top, 1.05 * top)


def plain_numbers(axis: Axis) -> None:
    """Ticks of a logarithmic axis as 0.1, 20 and the like, none between: powers need mathematics, which is off."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def log_ticks(ax: Axes, at: pd.Series | None = None) -> None:
    """Ticks of a logarithmic x axis at these values, or at 1, 2 and 5 of each power of ten."""
    if at is not None:
        ax.set_xticks(sorted(at.unique()))
    else:
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    plain_numbers(ax.xaxis)


def probe_curves(study: StudyResults, x: str, names: Mapping[str, str]) -> pd.DataFrame:
    """Curves of probes.npz as tidy rows arm, label, seed, metric, x, value; names: array -> name of the metric.

    Arrays that are absent or not as long as their x are left out. Where runs count t in different units, x is a share
    of a run's last t.
    """
    last = last_times(study)
    shares = len(set(last.values())) > 1
    heads, parts = list[dict[str, Any]](), list[dict[str, np.ndarray]]()
    for record in study.scores[["run", "arm", "label", "seed"]].to_dict("records"):
        run = record.pop("run")
        probes, unit = study.probes.get(run, {}), last.get(run, 1.0) if shares else 1.0
        for array, metric in names.items():
            if x in probes and array in probes and probes[array].shape == probes[x].shape:
                heads.append(record | {"metric": metric})
                parts.append({x: probes[x].astype(float) / unit, "value": probes[array].astype(float)})
    return under_heads(heads, parts) if parts else pd.DataFrame(columns=["arm", "label", "seed", "metric", x, "value"])


def last_times(study: StudyResults) -> dict[str, float]:
    """The last t that a run was probed at: T - 1, or 1 where time is a share."""
    return {run: float(probes["t"].max()) for run, probes in study.probes.items() if probes.get("t", np.zeros(0)).size}


def part_of(study: StudyResults, arms: Collection[str]) -> StudyResults:
    """The study with these arms alone, by name; all if there are none. What it is worth it owes to the whole."""
    if not arms:
        return study
    frames = {name: frame[frame["arm"].isin(list(arms))] for name, frame in _frames(study).items() if len(frame)}
    kept = tuple(arm for arm in study.arms if arm.name in arms)
    worth = {"no_verdict": study.no_verdict, "no_verdicts": study.no_verdicts}
    return replace(study, arms=kept, info=study.info | worth, **frames)


def _frames(study: StudyResults) -> dict[str, pd.DataFrame]:
    return {"scores": study.scores, "steps": study.steps, "metrics": study.metrics, "failed": study.failed}


def only_drawn(study: StudyResults, frame: pd.DataFrame) -> StudyResults:
    """The study with those arms that a figure's frame has something of."""
    drawn = set(frame["arm"])
    return replace(study, arms=tuple(arm for arm in study.arms if arm.name in drawn))


def name_missing(study: StudyResults, frame: pd.DataFrame) -> str:
    """The arms that a figure's frame has nothing of, such as another method's without what it shows; may be empty."""
    drawn = set(frame["arm"])
    return ", ".join(arm.label for arm in study.arms if arm.name not in drawn)


def steps_total(study: StudyResults) -> int | None:
    """T, if all results of the study's arms have the same."""
    arms = {arm.name for arm in study.arms}
    configs = [record.get("config") or {} for record in study.records.values() if record["arm"] in arms]
    totals = {config.get("diffusion_steps") for config in configs}
    return totals.pop() if len(totals) == 1 else None


def t_label(study: StudyResults) -> str:
    """Label of an axis that shows t."""
    if len(set(last_times(study).values())) > 1:
        return "t / T"
    total = steps_total(study)
    return f"t (of T = {total:,})" if total else "t (diffusion step)"
