"""Quality against decoding time of a study of methods: a curve a method over its steps, and the front of all.

A method without steps, such as the autoregressive one, is a point: its own decoding, on the same sentences where their
texts are at hand.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.common import Missing, log_ticks, only_drawn, seed_range, zero_based
from analysis.figures.layout import Panel, banner, legend, legend_height, note_height, panel_grid
from analysis.formats import COLUMN
from analysis.load import StudyResults
from analysis.questions.full_model import varies_method
from analysis.results import seeds_text
from analysis.sentence_counts import measure_of
from analysis.sentences import SAME
from analysis.style import GREY, arm_handle, arm_style
from core.run_folder import SAMPLES, SCORES, try_read

NAME = "quality_time"
METRICS = {"ms": "BLEU"}
MOST = 12
"""Arms that a panel can tell apart."""
FRONT: dict[str, Any] = {
    "color": GREY, "linestyle": "none", "marker": "o", "markersize": 7.5, "markerfacecolor": "none",
}  # fmt: skip
"""The rings around points that no other beats."""


def x_label(_: StudyResults) -> str:
    """The label of the x axis."""
    return "decoding time (ms per sentence)"


def tidy(study: StudyResults) -> pd.DataFrame:
    """A row per arm, seed and number of steps (0: it has none): BLEU as value, calls, milliseconds per sentence.

    sentences: how many test sentences BLEU is of.
    """
    if not varies_method(study):
        raise Missing("its arms are of one method")
    if len(study.arms) > MOST:
        raise Missing(
            f"{len(study.arms)} arms are more than a panel can tell apart (--arms takes some, at most {MOST})"
        )
    curves = study.steps.rename(columns={"bleu": "value"})
    if curves.empty:
        raise Missing(f"no run was decoded with several numbers of steps (by_steps in {SCORES})")
    curves = curves.assign(ms=1000 * curves["seconds"] / curves["sentences"])
    frame = pd.concat([curves, _points(study, int(curves["sentences"].max()))], ignore_index=True)
    frame = frame[(frame["ms"] > 0) & np.isfinite(frame["value"])]
    if frame.empty:
        raise Missing("no run recorded how long decoding took")
    return frame


def _points(study: StudyResults, sentences: int) -> pd.DataFrame:
    """A row per result of an arm without steps: its own decoding of the test set."""
    rows = []
    for row in study.scores[~study.scores["arm"].isin(study.steps["arm"])].to_dict("records"):
        count, seconds = float(row.get("sentences", math.nan)), float(row.get("cost/decode_s", math.nan))
        whole = float(row.get("bleu", math.nan))
        head = head_bleu(study, row["run"], whole, str(row.get("signature") or ""), sentences)
        scored = {"value": whole, "sentences": count} if head is None else {"value": head, "sentences": sentences}
        kept = {key: row[key] for key in ("run", "arm", "label", "seed")}
        rows.append(kept | scored | {"steps": 0.0, "calls": math.nan, "ms": 1000 * seconds / count})
    return pd.DataFrame(rows)


def head_bleu(study: StudyResults, run: str, whole: float, signature: str, sentences: int) -> float | None:
    """BLEU of a run's first test sentences; None where its texts do not give the BLEU of the whole test set."""
    rows, complaint = try_read(study.path / run / SAMPLES)
    if complaint or not rows or len(rows) < sentences:
        return None
    measure = measure_of("bleu", signature)
    try:
        table = measure.table(rows)
    except (RuntimeError, KeyError):  # a tokenizer that is not installed here, a text that lacks
        return None
    same = abs(float(measure.total(table.sum(axis=0))) - whole) < SAME
    return float(measure.total(table[:sentences].sum(axis=0))) if same else None


def statistics(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and range of BLEU over seeds for each arm and number of steps, mean time, and what is on the front."""
    keys = ["arm", "label", "steps"]
    cost = frame.groupby(keys, sort=False)[["calls", "ms", "sentences"]].mean().reset_index()
    stats = seed_range(frame, keys).merge(cost, on=keys)
    return stats.assign(front=on_front(stats["ms"].to_numpy(), stats["mean"].to_numpy()))


def on_front(cost: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Which of n points no other dominates: costs as little and scores as well, and one of the two better [n]."""
    weak = (cost[:, None] <= cost) & (score[:, None] >= score)
    strict = (cost[:, None] < cost) | (score[:, None] > score)
    dominated = np.asarray((weak & strict).any(axis=0))
    return ~dominated


def draw(ax: Axes, study: StudyResults, stats: pd.DataFrame, panel: Panel, x: str) -> None:
    """BLEU over time: curves over steps with the seeds' range as bars, rings around the points on the front."""
    looks, front = arm_style(study), stats[stats["front"]]
    ax.plot(front[x], front["mean"], zorder=3, **FRONT)
    for arm in panel.arms:
        rows, look = stats[stats["arm"] == arm].sort_values(["steps", x]), looks[arm]
        if (rows["n_seeds"] > 1).any():
            ax.vlines(rows[x], rows["low"], rows["high"], color=look.color, linewidth=0.6, alpha=0.6)
        ax.plot(rows[x], rows["mean"], **look.line(markersize=2.8, linewidth=0.9))
    ax.set_xscale("log")
    log_ticks(ax)
    zero_based(ax, stats["high"])


def figure(study: StudyResults, width: float | None = None) -> tuple[Figure, pd.DataFrame]:
    """One panel; a column wide unless another width is asked for."""
    stats, width = statistics(tidy(study)), width or COLUMN
    study = only_drawn(study, stats)
    fig, [[ax]] = panel_grid(1, 1, width, 2.6, legend_height(study, width) + note_height(0.3))
    draw(ax, study, stats, Panel("", tuple(arm.name for arm in study.arms)), "ms")
    ax.set_xlabel(x_label(study))
    ax.set_ylabel(METRICS["ms"])
    handles = [arm_handle(study, arm.name, markersize=3.5) for arm in study.arms]
    legend(fig, [*handles, Line2D([], [], label="front of all", **FRONT)])
    banner(fig, study.banner, *explain(study, stats))
    return fig, stats.assign(steps=stats["steps"].where(stats["steps"] > 0))


def explain(study: StudyResults, stats: pd.DataFrame) -> tuple[str, ...]:
    """What points, lines and bars are, and which sentences they are of."""
    seeds = seeds_text(study)
    curves, points = stats[stats["steps"] > 0], stats[stats["steps"] == 0]
    said = [f"Points: {seeds}" if seeds == "1 seed" else f"Points: mean over {seeds}; bars: their range"]
    counts = ", ".join(f"{steps:g}" for steps in sorted(curves["steps"].unique()))
    sentences = f"{curves['sentences'].max():g} sentences"
    said.append(f"lines join a method's numbers of steps ({counts}), each scored and timed on {sentences}")
    labels = ", ".join(points["label"])
    if labels:
        few = (points["sentences"] == curves["sentences"].max()).all()
        scored = "BLEU on the same sentences" if few else "BLEU and time on the whole test set"
        said.append(f"without steps: {labels}, {scored}{', time on the whole test set' if few else ''}")
    return (*said, "ringed: on the front of all")
