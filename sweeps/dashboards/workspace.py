"""The W&B workspace of a study as code: sections of panels, its runs grouped by the toggles, our colours.

The same sections make the panel grids of the report (sweeps/dashboards/story.py). Nothing here asks a server.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from core.config import digest
from sweeps.dashboards.facts import Facts, arm_of
from sweeps.wb import private

COLUMNS = 3
"""Panels side by side in a section."""
STEP, T, K = "train/step", "per_step/t", "by_steps/steps"
NAMES = {"bleu": "BLEU", "chrf": "chrF", "rougeL": "ROUGE-L"}
SCORES = {"chrf": "chrF", "rougeL": "ROUGE-L", "brevity_penalty": "brevity penalty", "length_ratio": "length ratio"}
BANDS = ("rare", "middle", "frequent")


@dataclass(frozen=True)
class Section:
    """A section: its name, what to look for in it, the horizontal axis of its line plots, its panels."""

    name: str
    text: str
    x: str
    panels: tuple[Any, ...]


def sections(facts: Facts) -> list[Section]:
    """All sections, their panels newly made."""
    makers = (quality, collapse, norms, per_step, decoding, cost)
    return [maker(facts) for maker in makers]


def quality(facts: Facts) -> Section:
    """Scores on the test set by arm and by toggle, the validation score over training, what the score hangs on."""
    metric, name = f"test/{facts.metric}", NAMES.get(facts.metric, facts.metric)
    panels = [bars(f"{name} by arm", metric, "label")]
    several = facts.factors if len(facts.factors) > 1 else []  # one factor's levels are the arms
    panels += [bars(f"{name} by {words(factor)}", metric, factor) for factor in several]
    panels += [line("Validation BLEU", "val/bleu"), line("Validation −log p (nats)", "val/nll")]
    panels.append(axes(facts, metric, name))
    panels.append(wr.ParameterImportancePlot(with_respect_to=metric))
    panels += [bars(title, f"test/{key}", "label") for key, title in SCORES.items() if key != facts.metric]
    text = "Bars are means over runs, the range is from the lowest to the highest run. For verdicts see the tables."
    return Section("Quality", text, STEP, tuple(panels))


def collapse(facts: Facts) -> Section:
    """The terms of the loss and the spread of the embeddings."""
    panels = (
        line("MSE, per dimension", "train/mse", log=True),
        line("Token loss (nats)", "train/token"),
        line("−log p(y | predicted z_0) (nats)", "train/nll"),
        line("Mean cosine between embeddings", "diag/cosine"),
        line("Effective rank of the embeddings", "diag/rank"),
        line("Gradient norm", "train/grad_norm", log=True),
    )
    text = "A falling MSE while the embeddings shrink or align (cosine towards 1, low rank) is collapse, not learning."
    return Section("Collapse", text, STEP, panels)


def norms(facts: Facts) -> Section:
    """Norms of z_0 over training, and their distribution over the types at the end."""
    panels = (
        line("Mean norm of z_0", "diag/norm_mean"),
        line("Standard deviation of the norm", "diag/norm_std"),
        line("Root mean square of z_0", "diag/scale"),
        *(wr.MediaBrowser(title=f"Norms: {band} types", media_keys=[f"norms/{band}"], num_columns=2) for band in BANDS),
    )
    text = "Rare, middle and frequent: thirds of the types by training frequency."
    return Section("Embedding norms", text, STEP, panels)


def per_step(facts: Facts) -> Section:
    """Loss and accuracy against t."""
    titles = {"mse": "MSE by t", "nll": "−log p by t (nats)", "accuracy": "Accuracy by t"}
    titles |= {"nearest": "Recovered by the nearest embedding of z_t", "nearest_F1": "The same with noise factor 1"}
    panels = tuple(line(title, f"per_step/{key}", T) for key, title in titles.items())
    text = "Where the nearest embedding recovers nearly all tokens, a step is too easy: the denoiser can copy."
    return Section("Per-step loss", text, T, panels)


def decoding(facts: Facts) -> Section:
    """Scores and time by number of steps, and texts."""
    metric, name = f"test/{facts.metric}", NAMES.get(facts.metric, facts.metric)
    panels = (
        line("BLEU by decoding steps", "by_steps/bleu", K, log_x=True),
        line("Seconds by decoding steps", "by_steps/seconds", K),
        scatter(f"{name} against seconds of decoding", "cost/decode_s", metric),
        wr.WeavePanelSummaryTable(table_name="samples"),
        wr.WeavePanelSummaryTable(table_name="trajectories"),
    )
    text = "Scores and times on a part of the test set; samples and how the first of them came about, step by step."
    return Section("Decoding", text, K, panels)


def cost(facts: Facts) -> Section:
    """Time and throughput."""
    metric, name = f"test/{facts.metric}", NAMES.get(facts.metric, facts.metric)
    panels = (
        bars("Training tokens per second", "cost/train_tokens_per_s", "label"),
        bars("Decoded sentences per CPU-second", "cost/decode_sentences_per_cpu_s", "label"),
        bars("Seconds in all", "cost/wall_s", "label"),
        bars("CPU-seconds in all", "cost/cpu_s", "label"),
        bars("Seconds of decoding the test set", "cost/decode_s", "label"),
        scatter(f"{name} against CPU-seconds", "cost/cpu_s", metric),
    )
    return Section("Cost", "What each arm costs on the machine it ran on.", STEP, panels)


# Panels


def words(name: str) -> str:
    """A key as words."""
    return name.replace("_", " ")


def line(title: str, y: str, x: str = STEP, log: bool = False, log_x: bool = False) -> Any:
    """A line of means over the runs of a group, with their range as a band."""
    return wr.LinePlot(
        title=title,
        x=x,
        y=[y],
        log_y=log or None,
        log_x=log_x or None,
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        smoothing_type="none",
    )


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


def axes(facts: Facts, metric: str, name: str) -> Any:
    """Parallel coordinates: the toggles and the score."""
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(factor), words(factor)) for factor in facts.factors]
    columns.append(wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(metric), name))
    return wr.ParallelCoordinatesPlot(title=f"Toggles and {name}", columns=columns)


# The workspace


def workspace(facts: Facts, entity: str, project: str) -> Any:
    """The workspace, not saved. Its own ids are functions of the study's name: written twice, it is the same."""
    made = ws.Workspace(
        entity=entity,
        project=project,
        name=title(facts),
        sections=[_section(each, facts) for each in sections(facts)],
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


def _section(section: Section, facts: Facts) -> Any:
    return ws.Section(
        name=section.name,
        panels=with_ids(section.panels, "workspace", facts.name, section.name),
        is_open=True,
        layout_settings=ws.SectionLayoutSettings(columns=COLUMNS, rows=-(-len(section.panels) // COLUMNS)),
        panel_settings=ws.SectionPanelSettings(x_axis=section.x),
    )


def title(facts: Facts) -> str:
    """The name in W&B, which allows no mathematical signs there, "=" and "+" among them."""
    return "Ablation: " + "".join(c if c.isalnum() or c in "_.-" else " " for c in facts.name)


def name_from(*parts: str) -> str:
    """An id of the form that W&B makes up, but the same each time."""
    return digest({"of": list(parts)})[:11]


def with_ids(panels: Iterable[Any], *place: str) -> list[Any]:
    """The panels with ids that depend on their place alone."""
    panels = list(panels)
    for i, panel in enumerate(panels):
        private.set_id(panel, name_from(*place, str(i)))
    return panels


def show_this_study(holder: Any, settings: Any, facts: Facts) -> None:
    """Filter for the runs whose group is the study."""
    group, groups = expr.Metric("Group"), facts.groups
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
    known = {run.id: arm_of(key) for key, run in facts.runs().items()}
    return {run: facts.colors[arm] for run, arm in known.items() if arm in facts.colors}
