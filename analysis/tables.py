"""The ablation table and the table of effects, as Markdown, CSV, LaTeX, and on the terminal."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.beside_grids import published_files
from analysis.by_calls import CALLS, best, cost_name, pairs
from analysis.effects import group_names
from analysis.footer import arm_rows, footer
from analysis.groups import grouping
from analysis.judging import NO_VERDICT
from analysis.levels import toggle_text
from analysis.load import StudyResults
from analysis.markup import Grid, latex, markdown
from analysis.numbers import number as number
from analysis.numbers import with_interval
from analysis.paper_tables import for_paper
from analysis.plain_text import csv_text, spell_out
from analysis.power_note import power_curve, power_note, seeds_seen
from analysis.results import (
    MAIN,
    NETWORK,
    OTHER_SCORES,
    ablation,
    comparison_name,
    comparisons,
    metric_name,
    other_scores,
    score_digits,
    seeds_text,
)
from analysis.sentences import compare, sentence_note
from analysis.stats import SHOWN

DIGITS = {"brevity_penalty": 3, "length_ratio": 3, "cost/parameters": 0, "cost/train_tokens_per_s": 0}
FACTORIAL = (
    "Main effect: mean with the factor on minus mean with it off, over all settings of the others. Interaction of two: "
    "half of what one adds to the effect of the other (above 0 they reinforce each other, below 0 they overlap); of "
    "three: half of what the third adds to that.",
    "Interval, p and verdict: t over the seeds' own contrasts. Pooled: with the residual variance of all contrasts "
    "together (score = arm + seed + residual); narrower, and right only if all effects vary equally from seed to seed: "
    "of one that varies more than the others it is too narrow.",
)
"""How to read the table of effects."""
GROUPED = (
    "By {by}: “{x}” is the effect within {x}, over the seeds with a result in all its arms; “mean of {n}” the mean of "
    "these effects, with equal weights, and “{x} − others” how far that of {x} is from the mean of the others (the "
    "interaction of the effect with {by}), both over the seeds with a result in all arms. “Mean score: {x} − others”: "
    "the same of the mean over the arms. Differences to the control are to the control of the same {by}."
)
"""What is added for a study with groups."""
TWO_SEEDS = (
    "Of two seeds both values stand in place of an interval: Student's t with one degree of freedom reaches 12.7 "
    "standard errors either way. p and verdict are of that t test all the same. SEEDS=3 adds a seed."
)


def p_text(p: float) -> str:
    """A p-value in three digits."""
    return "n/a" if not math.isfinite(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def score_head(study: StudyResults, seeds: "pd.Series[int]") -> str:
    """The head of a column of the study's metric, by how many seeds its rows have."""
    return f"{metric_name(study)} {'(both seeds)' if seeds.max() == SHOWN - 1 else '[95% interval]'}"


def ablation_grid(study: StudyResults, frame: pd.DataFrame) -> Grid:
    """A row per arm."""
    digits = score_digits(study)
    factors = list(study.factors) if len(study.factors) > 1 else []
    names = other_scores(study)
    scores = [column for column in names if frame[column].notna().any()]
    difference = ["difference to control"] if study.compared else []
    heads = ["arm", *(name.replace("_", " ") for name in factors), "seeds", score_head(study, frame["n_seeds"])]
    rows = []
    for _, row in frame.iterrows():
        mark = f" ({row['outcomes']})" if row["outcomes"] else ""
        cells = [row["label"] + mark, *(toggle_text(study.arm(row["arm"]).toggles.get(name)) for name in factors)]
        cells += [str(row["n_seeds"]), with_interval(row, study.metric, digits=digits)]
        cells += [number(row[column], DIGITS.get(column, 1)) for column in scores]
        if difference:
            cells.append(
                "control"
                if row["arm"] == study.control_of(row["arm"])
                else with_interval(row, "difference", True, digits)
            )
        rows.append(tuple(cells))
    return Grid(f"Ablation: {study.name}", (*heads, *(names[column] for column in scores), *difference), tuple(rows))


def tested_grid(study: StudyResults, frame: pd.DataFrame) -> Grid:
    """A row per effect of a factorial, or per difference to the control."""
    digits = score_digits(study)
    factorial = "order" in frame
    heads = ["effect" if factorial else "difference", score_head(study, frame["n_seeds"])]
    heads += ["seeds", "p", "p (Holm)", "verdict", "seeds needed"]
    heads += ["pooled interval", "pooled p (Holm)", "pooled verdict"] if factorial else []
    rows = []
    for _, row in frame.iterrows():
        cells = [comparison_name(study, row)]
        cells.append(with_interval(row, "estimate", True, digits))
        needed = "" if row["verdict"] != "undecided" else needed_text(row["seeds_needed"])
        none = row["verdict"] == NO_VERDICT
        p = ["–"] * 3 if none else [p_text(row[name]) for name in ("p", "p_holm", *["pooled_p_holm"] * factorial)]
        cells += [str(row["n_seeds"]), p[0], p[1], row["verdict"], needed]
        if factorial and row["kind"] == "group":  # a difference of means is no contrast of arms
            cells += [""] * 3
        elif factorial:
            low, high = (number(row[name], digits, True) for name in ("pooled_low", "pooled_high"))
            pooled = "n/a" if low == "n/a" else f"[{low}, {high}]"
            cells += [pooled, p[2], row["pooled_verdict"]]
        rows.append(tuple(cells))
    return Grid(f"{'Effects' if factorial else 'Differences'}: {study.name}", tuple(heads), tuple(rows))


def best_grid(study: StudyResults, frame: pd.DataFrame) -> Grid:
    """A row per number of network calls: which arm is best at it, and whether that is decided."""
    digits = score_digits(study)
    heads = ["calls", "best", score_head(study, frame["n_seeds"]), f"{cost_name(study)} a sentence", "second"]
    heads += ["difference to second", "p (Holm)", "verdict", "not told apart"]
    rows = [
        (
            str(row[CALLS]),
            row["best"],
            with_interval(row, study.metric, digits=digits),
            number(row["cost"], 2),
            row["second"],
            with_interval(row, "difference", True, digits + 1),
            p_text(row["p_holm"]),
            row["verdict"],
            row["open"] or "–",
        )
        for _, row in frame.iterrows()
    ]
    title = f"Best at each number of network calls: {study.name}"
    return Grid(title, tuple(heads), tuple(rows), label=f"{study.name}-best")


def how_to_read_best(frame: pd.DataFrame) -> str:
    """What the columns of that table mean."""
    count = int(frame["compared"].max())
    corrected = f"all {count} pairs of arms with equal calls that have a p" if count else "all pairs; here none has a p"
    return (
        "Best at each number of network calls: the arm with the highest mean, and its difference to the second, paired "
        "by seed. Decided: its difference to each other arm with as many calls has its whole interval above 0, and a p "
        f"of at most 0.05 after Holm's correction among {corrected}; the largest p is shown. The same scores pick "
        "the best and judge it: that is why every pair counts, whichever arm came out first. Not told "
        "apart: the arms for which that is not so; each may be the best."
    )


def needed_text(needed: float) -> str:
    """Seeds that would decide, or that it is unknown."""
    return f"about {int(needed)}" if math.isfinite(needed) else "unknown"


def how_to_read(study: StudyResults, tested: pd.DataFrame) -> list[str]:
    """What the columns of the second table mean."""
    if tested.empty:
        return ["No effects: they need at least two arms, and a control arm with a result."]
    lines = [*FACTORIAL, *_grouped(study, tested)] if "order" in tested else _no_factorial(study)
    lines.append(
        f"Verdict: {_decided(tested)} only if the whole interval lies on one side of 0 and p is at most 0.05 "
        f"{_corrected(tested)}. Intervals are not corrected: each is a 95% interval by itself. Seeds needed: for a "
        "power of 80% if this difference and spread were the true ones (Bonferroni level); unknown without a spread "
        "or above 1,000."
    )
    seeds = int(tested["n_seeds"].max())
    if seeds < 2:
        few = "One seed" if seeds else "No seed has a result in both arms"
        return [*lines, f"{few}: no interval, no p and no verdict; start at least two seeds."]
    if ((tested["sd"] == 0) & (tested["n_seeds"] > 1)).any():
        lines.append("n/a although there are seeds: all gave the same difference, so how it varies is unknown.")
    if tested["n_seeds"].min() < SHOWN:
        lines.append(TWO_SEEDS)
    wide = f"With {seeds_seen(tested['n_seeds'])} intervals are wide. " if tested["n_seeds"].min() <= 4 else ""
    return [*lines, f"{wide}Undecided does not mean no effect."]


def _no_factorial(study: StudyResults) -> list[str]:
    """Why a study of several factors has no main effects; nothing for a study of one."""
    if len(study.factors) < 2:
        return []
    if study.groups or all(len(levels) == 2 for levels in study.factors.values()):
        return ["No main effects and interactions: they need a seed with a result in every combination of levels."]
    return [
        "No main effects and interactions: they are computed only where every factor has two levels, or all but one."
    ]


def _grouped(study: StudyResults, tested: pd.DataFrame) -> list[str]:
    """How to read the rows of groups, and which groups have none."""
    if "group" not in tested:
        return []
    by, there, names = grouping(study.factors), set(tested["group"]), group_names(study)
    own = [name for name in names if name in there]
    lines = [GROUPED.format(by=by.replace("_", " "), x=own[0], n=len(own))]
    if missing := [name for name in names if name not in there]:
        lines.append(
            f"No effects in {', '.join(missing)}: they need a seed with a result in every combination of levels."
        )
    return lines


def _decided(tested: pd.DataFrame) -> str:
    """The words of a decided verdict."""
    others = "; “− others”: more or less, higher or lower" if "group" in tested else ""
    return f"helps or hurts (interactions: reinforce or overlap{others})" if "order" in tested else "helps or hurts"


def _corrected(tested: pd.DataFrame) -> str:
    """What Holm's correction counts together: comparisons that have a p."""
    if "group" in tested:
        return (
            "after Holm's correction, made apart among the main effects in all groups together, their interactions, "
            "the means of main effects, those of interactions, the distances of main effects, and those of mean scores"
        )
    if "order" in tested:
        return "after Holm's correction among the main effects, and apart from them among the interactions"
    count = int(tested["p"].notna().sum())
    if not count:
        return "after Holm's correction; here no difference has a p"
    return f"after Holm's correction among {count} differences" if count > 1 else "(one difference: nothing to correct)"


@dataclass(frozen=True)
class Tables:
    """A study as tables: the grids, the lines below them, and the frames behind them, in full precision by name.

    paper: the grids as LaTeX has them.
    """

    grids: list[Grid]
    lines: list[str]
    frames: dict[str, pd.DataFrame]
    paper: list[Grid]


def tabulate(study: StudyResults) -> Tables:
    """Everything that is written or shown of a study, computed once."""
    arms, tested = ablation(study).merge(arm_rows(study), on="arm"), comparisons(study)
    tables = [ablation_grid(study, arms)] + ([tested_grid(study, tested)] if len(tested) else [])
    sentences, left_out = compare(study)
    power = power_curve(study)
    if study.no_verdict:
        lines, sentences, power = footer(study), sentences.drop(columns="verdict", errors="ignore"), power.iloc[:0]
    else:
        lines = (
            how_to_read(study, tested)
            + power_note(study)
            + sentence_note(sentences, left_out, metric_name(study))
            + footer(study)
        )
    frames = {"table": arms, "effects": tested, "sentences": sentences, "power": power, "best": best(study)}
    paper = for_paper(study, tables, arms, seeds_text(study))
    if len(frames["best"]):
        frames["pairs"] = pairs(study)
        lines = [how_to_read_best(frames["best"]), *lines]
        tables, paper = ([*grids, best_grid(study, frames["best"])] for grids in (tables, paper))
    return Tables(tables, lines, frames, paper)


def grids(study: StudyResults) -> tuple[list[Grid], list[str], pd.DataFrame, pd.DataFrame]:
    """The tables, the lines below them, and the frames of arms and of effects behind them."""
    made = tabulate(study)
    return made.grids, made.lines, made.frames["table"], made.frames["effects"]


def write(study: StudyResults, out: Path, made: Tables | None = None) -> list[Path]:
    """Write table.md, table.tex, table.csv and, if there are any, the CSVs of the other frames into out.

    Of a study of methods published.md and published.csv too.

    The CSVs have full precision. made: what `tabulate` gave, if it is at hand.
    """
    made = made or tabulate(study)
    out.mkdir(parents=True, exist_ok=True)
    texts = {"table.md": markdown(made.grids, made.lines), "table.tex": latex(made.paper, made.lines)}
    kept = {name: frame for name, frame in made.frames.items() if len(frame)}
    texts |= {f"{name}.csv": csv_text(frame) for name, frame in kept.items()} | published_files(study)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    return [out / name for name in texts]


def narrow(study: StudyResults, grid: Grid) -> Grid:
    """The columns that a terminal of 80 characters has room for; the files have all."""
    left_out = {"chrF", "ROUGE-L", "length ratio", OTHER_SCORES["cost/decode_sentences_per_cpu_s"], "p"}
    left_out |= set(NETWORK.values())
    left_out |= {"seeds", "seeds needed", "p (Holm)", "pooled interval", "pooled p (Holm)", "pooled verdict"}
    left_out |= {"second", "not told apart", f"{cost_name(study)} a sentence"}
    left_out |= {name.replace("_", " ") for name in study.factors}
    return grid.without(left_out)


def main_rows(grid: Grid, frame: pd.DataFrame) -> Grid:
    """A table of effects without interactions and distances between groups."""
    kept = tuple(row for row, kind in zip(grid.rows, frame["kind"], strict=True) if kind in MAIN)
    return replace(grid, rows=kept)


def show(study: StudyResults, console: Console | None = None, made: Tables | None = None) -> None:
    """Print what the scores are worth, the arms, and the main effects or differences on the terminal.

    All else is for files: interactions, how to read the tables, power, sources.
    """
    console = console or Console()
    made = made or tabulate(study)
    shown = [made.grids[0], *made.grids[1:]]
    if len(made.frames["effects"]):
        shown[1] = main_rows(shown[1], made.frames["effects"])
    shown = shown if console.width >= 150 else [narrow(study, each) for each in shown]
    print_grids(shown, study.banner, console)


def print_grids(tables: Iterable[Grid], banner: str, console: Console) -> None:
    """Print what the numbers are worth, and tables, on the terminal."""
    if banner:
        console.print(spell_out(banner), style="bold", markup=False, highlight=False)
        console.print()
    for grid in tables:
        table = Table(title=Text(spell_out(grid.title)), title_justify="left", show_edge=False, pad_edge=False)
        for i, head in enumerate(grid.heads):
            table.add_column(Text(spell_out(head)), justify="right" if i else "left", overflow="fold")
        for row in grid.rows:
            table.add_row(*(Text(spell_out(cell)) for cell in row))
        console.print(table, "")
