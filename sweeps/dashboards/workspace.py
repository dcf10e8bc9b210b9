"""The W&B workspace of a study as code: sections of panels, its runs grouped by the toggles, our colours.

The same sections make the panel grids of the report (sweeps/dashboards/story.py). Nothing here asks a server.
"""

from collections.abc import Mapping
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from core.config import digest
from core.display import score_name
from sweeps.dashboards.facts import Facts, arm_of
from sweeps.wb import private
from sweeps.wb.media import BANDS
from sweeps.wb.tracking import STEPS

COLUMNS = 3
"""Panels side by side in a section."""
STEP = "train/step"
AXES = {"Per-step loss": STEPS["per_step/*"], "Decoding": STEPS["by_steps/*"]}
"""The horizontal axis of a section's line plots; STEP in all others."""
LOG_X, LOG_Y = ("by_steps/bleu",), ("train/mse", "train/grad_norm")

# Metric -> title
SCORES = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "rougeL": "ROUGE-L",
    "brevity_penalty": "brevity penalty",
    "length_ratio": "length ratio",
}
COLLAPSE = {
    "train/mse": "MSE, per dimension",
    "train/token": "Token loss (nats)",
    "train/nll": "−log p(y | predicted z_0) (nats)",
    "diag/cosine": "Mean cosine between embeddings",
    "diag/rank": "Effective rank of the embeddings",
    "train/grad_norm": "Gradient norm",
}
NORMS = {
    "diag/norm_mean": "Mean norm of z_0",
    "diag/norm_std": "Standard deviation of the norm",
    "diag/scale": "Root mean square of z_0",
}
PER_STEP = {
    "per_step/mse": "MSE by t",
    "per_step/nll": "−log p by t (nats)",
    "per_step/accuracy": "Accuracy by t",
    "per_step/nearest": "Recovered by the nearest embedding of z_t",
    "per_step/nearest_F1": "The same with noise factor 1",
}
BY_STEPS = {"by_steps/bleu": "BLEU by decoding steps", "by_steps/seconds": "Seconds by decoding steps"}
COST = {
    "cost/train_tokens_per_s": "Training tokens per second",
    "cost/decode_sentences_per_cpu_s": "Decoded sentences per CPU-second",
    "cost/wall_s": "Seconds in all",
    "cost/cpu_s": "CPU-seconds in all",
    "cost/decode_s": "Seconds of decoding the test set",
}


def sections(facts: Facts) -> dict[str, list[Any]]:
    """The panels of each section, newly made."""
    metric, name = f"test/{facts.metric}", score_name(facts.metric)
    return {
        "Quality": quality(facts, metric, name),
        "Collapse": lines(COLLAPSE),
        "Embedding norms": lines(NORMS)
        + [wr.MediaBrowser(title=f"Norms: {b} types", media_keys=[f"norms/{b}"], num_columns=2) for b in BANDS],
        "Per-step loss": lines(PER_STEP),
        "Decoding": lines(BY_STEPS)
        + [scatter(f"{name} against seconds of decoding", "cost/decode_s", metric)]
        + [wr.WeavePanelSummaryTable(table_name=table) for table in ("samples", "trajectories")],
        "Cost": [bars(title, key, "label") for key, title in COST.items()]
        + [scatter(f"{name} against CPU-seconds", "cost/cpu_s", metric)],
    }


def quality(facts: Facts, metric: str, name: str) -> list[Any]:
    """Scores on the test set by arm and by toggle, the validation score over training, what the score hangs on."""
    several = facts.factors if len(facts.factors) > 1 else ()  # one factor's levels are the arms
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(factor), words(factor)) for factor in facts.factors]
    columns.append(wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(metric), name))
    validation = {f"val/{facts.metric}": f"Validation {name}", "val/nll": "Validation −log p (nats)"}
    return [
        bars(f"{name} by arm", metric, "label"),
        *(bars(f"{name} by {words(factor)}", metric, factor) for factor in several),
        *lines(validation),
        wr.ParallelCoordinatesPlot(title=f"Toggles and {name}", columns=columns),
        wr.ParameterImportancePlot(with_respect_to=metric),
        *(bars(title, f"test/{key}", "label") for key, title in SCORES.items() if key != facts.metric),
    ]


def words(name: str) -> str:
    """A key as words."""
    return name.replace("_", " ")


def lines(metrics: Mapping[str, str]) -> list[Any]:
    """Of each metric, a line of means over the runs of a group, with their range as a band."""
    return [
        wr.LinePlot(
            title=title,
            x=STEPS[f"{metric.partition('/')[0]}/*"],
            y=[metric],
            log_y=metric in LOG_Y or None,
            log_x=metric in LOG_X or None,
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
            smoothing_type="none",
        )
        for metric, title in metrics.items()
    ]


def bars(title: str, metric: str, key: str) -> Any:
    """A bar for each value of a configuration key: mean and range over runs."""
    return wr.BarPlot(
        title=title,
        metrics=[metric],
        orientation="h",
        groupby=wr.Config(key),
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        max_bars_to_show=50,
        max_runs_to_show=1000,
    )


def scatter(title: str, x: str, y: str) -> Any:
    """A point for each run."""
    return wr.ScatterPlot(title=title, x=wr.SummaryMetric(x), y=wr.SummaryMetric(y))


def workspace(facts: Facts, entity: str, project: str) -> Any:
    """The workspace, not saved. Its own ids are functions of the study's name: written twice, it is the same."""
    made = ws.Workspace(
        entity=entity,
        project=project,
        name=title(facts),
        sections=[_section(facts, head, panels) for head, panels in sections(facts).items()],
        settings=ws.WorkspaceSettings(
            x_axis=STEP, max_runs=max(20, len(facts.arms)), smoothing_type="none", remove_legends_from_panels=False
        ),
        runset_settings=ws.RunsetSettings(
            groupby=[expr.Config(factor) for factor in facts.factors],
            group_colors={ws.GroupPath(*path): color for path, color in group_colors(facts).items()},
            run_settings={run: ws.RunSettings(color=color) for run, color in run_colors(facts).items()},
            order=[expr.Ordering(expr.Summary(f"test/{facts.metric}"), ascending=False)],
            pinned_columns=[f"summary:test/{facts.metric}", *(f"config:{f}.value" for f in facts.factors)],
        ),
    )
    private.set_runset_id(made, name_from("runset", facts.name))
    show_this_study(made, made.runset_settings, facts)
    return made


def _section(facts: Facts, name: str, panels: list[Any]) -> Any:
    return ws.Section(
        name=name,
        panels=with_ids(panels, "workspace", facts.name, name),
        is_open=True,
        layout_settings=ws.SectionLayoutSettings(columns=COLUMNS, rows=-(-len(panels) // COLUMNS)),
        panel_settings=ws.SectionPanelSettings(x_axis=AXES.get(name, STEP)),
    )


def title(facts: Facts) -> str:
    """The name in W&B, which allows no mathematical signs there, "=" and "+" among them."""
    return "Ablation: " + "".join(c if c.isalnum() or c in "_.-" else " " for c in facts.name)


def name_from(*parts: str) -> str:
    """An id of the form that W&B makes up, but the same each time."""
    return digest({"of": list(parts)})[:11]


def with_ids(panels: list[Any], *place: str) -> list[Any]:
    """The panels, given ids that depend on their place alone."""
    for i, panel in enumerate(panels):
        private.set_id(panel, name_from(*place, str(i)))
    return panels


def show_this_study(holder: Any, settings: Any, facts: Facts) -> None:
    """Filter for the runs in the study's group, or in one that W&B's agent named."""
    group, groups = expr.Metric("Group"), sorted({facts.name} | {run.group for run in facts.runs.values()})
    private.set_filter(holder, settings, group.isin(groups) if len(groups) > 1 else group == facts.name)


def level_text(level: Any) -> str:
    """A level as W&B's app writes the value of a group: as JavaScript does, 4.0 as 4 and True as true."""
    if isinstance(level, bool) or level is None:
        return {True: "true", False: "false", None: "null"}[level]
    return f"{level:.12g}" if isinstance(level, int | float) else str(level)


def group_colors(facts: Facts) -> dict[tuple[str, ...], str]:
    """Levels of all toggles, in their order -> the colour of that arm."""
    return {
        tuple(level_text(arm["toggles"].get(factor)) for factor in facts.factors): facts.colors[arm["name"]]
        for arm in facts.arms
        if arm["name"] in facts.colors
    }


def run_colors(facts: Facts) -> dict[str, str]:
    """W&B's id of each run -> the colour of its arm."""
    return {run.id: facts.colors[arm_of(key)] for key, run in facts.runs.items() if arm_of(key) in facts.colors}
