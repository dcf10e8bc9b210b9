"""Training curves: a chart per metric, every run a line, and the values of all runs at a step one chooses."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.load import STEP, StudyResults
from analysis.report import chart
from analysis.report.alt_text import listed, value_text
from analysis.report.html import Html, join, script_data, tag, text_of
from analysis.report.html_tables import download, scroll
from analysis.report.section import Section
from analysis.report.themes import themed
from analysis.style import Look, arm_style
from core import run_folder

METRICS = {
    "train/loss": "training loss",
    "train/mse": "training MSE per dimension",
    "train/token": "training token loss (nats)",
    "train/nll": "training NLL of the token given the prediction (nats)",
    "train/grad_norm": "gradient norm",
    "val/mse": "validation MSE per dimension",
    "val/nll": "validation NLL (nats)",
    "val/bleu": "validation BLEU",
    "val/chrf": "validation chrF",
    "val/rouge1": "validation ROUGE-1",
    "val/rouge2": "validation ROUGE-2",
    "val/rougeL": "validation ROUGE-L",
    "diag/norm_mean": "norm of the embeddings (mean)",
    "diag/cosine": "cosine between embeddings (mean)",
    "diag/rank": "effective rank of the embeddings",
}
LOG = ("train/loss", "train/mse", "train/token", "train/nll", "train/grad_norm", "val/mse", "val/nll")
POINTS, FEWEST, VALUES = 100, 6, 100_000
"""Steps of a curve that are kept; and of many runs, for which so many values in all must do."""
DOWNLOADED = 200_000
"""Cells of the table of drawn values that a page holds at most."""
USE = (
    "Point at a chart, or move the slider, to read values as they were logged. Smoothing is an exponential mean over "
    "the drawn steps, each run's own curve faint behind it. Untick an arm to take it out, here and in the samples. "
)


def curves_section(study: StudyResults) -> Section:
    """The charts, the chooser of metric and step, and the table of values at that step."""
    kept = [name for name in METRICS if name in study.metrics and study.metrics[name].notna().any()]
    if not kept:
        return Section("curves", "Training curves", tag("p", f"No run has a readable {run_folder.METRICS}."))
    runs = list(study.scores["run"])
    points = max(FEWEST, min(POINTS, VALUES // (len(runs) * len(kept))))
    curves = {name: thin(study.metrics, name, points) for name in kept}
    drawn = {name: _lines(study, frame, runs) for name, frame in curves.items()}
    scales = {name: chart.scale(lines, name in LOG) for name, lines in drawn.items()}
    charts = [_chart(study, name, drawn[name], scales[name], curves[name]) for name in kept]
    looks, names = arm_style(study), [arm.name for arm in study.arms]
    data = {
        "plot": [chart.LEFT, chart.RIGHT, chart.TOP, chart.BOTTOM, chart.WIDTH, chart.HEIGHT],
        "colors": [themed(looks[arm].color) for arm in study.scores["arm"]],
        "dashes": [dashes(looks[arm]) for arm in study.scores["arm"]],
        "arms": [names.index(arm) for arm in study.scores["arm"]],
        "metrics": {name: _data(curves[name], scales[name], runs) for name in kept},
    }
    readings = tag("div", tag("div", charts, class_="charts"), _readout(study), class_="readings")
    body = [_intro(study, curves, points), _chooser(kept), readings, script_data(data, "curves-data")]
    return Section("curves", "Training curves", join(body))


def thin(metrics: pd.DataFrame, name: str, points: int = POINTS) -> pd.DataFrame:
    """Steps x runs of one metric; of more than `points` steps that many, evenly spread, with the first and the last."""
    frame = metrics.dropna(subset=[name]).pivot(index=STEP, columns="run", values=name).sort_index()
    if len(frame) <= points:
        return frame
    return frame.iloc[[round(i * (len(frame) - 1) / (points - 1)) for i in range(points)]]


def _lines(study: StudyResults, frame: pd.DataFrame, runs: Sequence[str]) -> list[chart.Line]:
    looks, arms = arm_style(study), dict(zip(study.scores["run"], study.scores["arm"], strict=True))
    lines = []
    for run in runs:
        column = frame[run].dropna() if run in frame else pd.Series(dtype=float)
        look = looks[arms[run]]
        points = [(float(x), float(y)) for x, y in column.items()]
        lines.append(chart.Line(look.color, dashes(look), points))
    return lines


def dashes(look: Look) -> str:
    """The look's line style for SVG."""
    return "" if look.linestyle == "-" else " ".join(f"{1.6 * part:g}" for part in look.linestyle[1])


def _data(frame: pd.DataFrame, axes: chart.Scale, runs: Sequence[str]) -> dict[str, Any]:
    """A metric for the script: steps, and the values of each run (null: none)."""
    rows = [[digits(frame[run].iloc[i]) if run in frame else None for i in range(len(frame))] for run in runs]
    return {"steps": [int(step) for step in frame.index], "log": axes.log, "runs": rows}


def digits(x: float) -> float | None:
    """Five digits, which is what is shown; None where there is no value."""
    return float(f"{x:.5g}") if math.isfinite(x) else None


def _chart(study: StudyResults, name: str, lines: list[chart.Line], axes: chart.Scale, frame: pd.DataFrame) -> Html:
    items = []
    for arm in study.arms:
        runs = [run for run in study.scores.loc[study.scores["arm"] == arm.name, "run"] if run in frame]
        means = frame[runs].mean(axis=1).dropna()
        if len(means):
            items.append(f"{arm.label} {value_text(means.iloc[0])} to {value_text(means.iloc[-1])}")
    first, last = frame.index[0], frame.index[-1]
    text = f"Mean over seeds from step {first:,} to step {last:,}: {listed(items)}."
    slug = name.replace("/", "-")
    picture = chart.chart(lines, axes, f"curve-{slug}", METRICS[name], text, "training step")
    scaled = " (logarithmic)" if axes.log else ""
    heading = tag("h3", METRICS[name], tag("span", scaled, class_="note scaled"))
    return tag("figure", heading, tag("div", picture, class_="paper"), class_="curve", data_metric=name)


def _intro(study: StudyResults, curves: dict[str, pd.DataFrame], points: int) -> Html:
    logged = int(study.metrics.groupby("run")[STEP].nunique().max())
    most = max(len(frame) for frame in curves.values())
    said = f"At most {points} of up to {logged:,}" if logged > most else f"All {logged:,}"
    columns = ["run", "arm", "seed", STEP, *curves]
    return tag(
        "p",
        f"A line is a run; colours and dashes are the arms' in all figures. {said} logged steps are drawn. ",
        tag("span", USE, class_="js-only"),
        *_values(_long(curves, columns, study), study.name),
        class_="note",
    )


def _values(drawn: pd.DataFrame, name: str) -> tuple[str, Html]:
    """The drawn values; of many runs their means over the seeds of each arm, for those of each run are large."""
    if drawn.size <= DOWNLOADED:
        return "The drawn values: ", download(drawn, name, "training-curves")
    means = drawn.drop(columns=["run", "seed"]).groupby(["arm", STEP], sort=False, as_index=False).mean()
    said = f"Means over the seeds of the drawn values (those of each run are in its {run_folder.METRICS}): "
    return said, download(means, name, "training-curves")


def _long(curves: dict[str, pd.DataFrame], columns: list[str], study: StudyResults) -> pd.DataFrame:
    """The drawn steps of every run with all metrics, as logged."""
    steps = sorted(set().union(*[frame.index for frame in curves.values()]))
    return study.metrics.loc[study.metrics[STEP].isin(steps), columns]


def _chooser(kept: list[str]) -> Html:
    options = [tag("option", METRICS[name], value=name) for name in kept]
    metric = tag("label", "Metric ", tag("select", options, id="curve-metric"))
    step = tag(
        "label",
        "Step ",
        tag("output", "", id="curve-at", for_="curve-step"),
        tag("input", type="range", id="curve-step", min="0", max="1", value="1", step="1"),
    )
    smooth = tag(
        "label",
        "Smoothing ",
        tag("output", "none", id="curve-smoothed", for_="curve-smooth"),
        tag("input", type="range", id="curve-smooth", min="0", max="0.99", value="0", step="0.01"),
    )
    log = tag("label", tag("input", type="checkbox", id="curve-log"), " Logarithmic axis")
    return tag("div", metric, step, smooth, log, pick_buttons(), class_="controls js-only")


def pick_buttons() -> Html:
    """Two buttons that choose all arms or none, in every part of the page that shows arms."""
    buttons = [tag("button", f"{name} arms", type="button", data_pick=name.lower()) for name in ("All", "No")]
    return tag("span", buttons, class_="picks")


def _readout(study: StudyResults) -> Html:
    """A row per arm, a cell per seed; the script fills in the values. Without it, the legend of the charts."""
    seeds = sorted(study.scores["seed"].unique())
    runs = list(study.scores["run"])
    names = {(row.arm, row.seed): runs.index(row.run) for row in study.scores.itertuples()}
    rows, looks = list[Html](), arm_style(study)
    for i, arm in enumerate(study.arms):
        cells = [
            tag("td", "", data_run=str(names[arm.name, seed]), class_="number js-only")
            if (arm.name, seed) in names
            else tag("td", "no run", class_="number js-only")
            for seed in seeds
        ]
        box = tag("input", type="checkbox", checked=True, data_arm=str(i), aria_label=f"Show {arm.label}")
        name = tag("a", text_of(arm.label), href=f"#arm-{i}")
        head = tag("span", box, class_="js-only"), swatch(looks[arm.name]), name
        rows.append(tag("tr", tag("th", tag("span", head, class_="arm"), scope="row"), cells))
    heads = [tag("th", "arm", scope="col")]
    heads += [tag("th", f"seed {seed}", scope="col", class_="number js-only") for seed in seeds]
    caption = tag("caption", "Values of every run at the chosen step", class_="hidden")
    inner = tag("table", caption, tag("thead", tag("tr", heads)), tag("tbody", rows), id="curve-values")
    return scroll(inner, "Values of every run at the chosen step")


def swatch(look: Look) -> Html:
    """A short piece of an arm's line."""
    line = tag(
        "line",
        x1="1",
        x2="29",
        y1="6",
        y2="6",
        style=f"stroke:{themed(look.color)}",
        stroke_width="2.5",
        stroke_dasharray=dashes(look) or None,
    )
    return tag("svg", line, viewBox="0 0 30 12", class_="swatch", aria_hidden="true")
