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
from analysis.footer import arm_rows, footer
from analysis.how_to_read import how_to_read, how_to_read_best
from analysis.judging import NO_VERDICT
from analysis.levels import toggle_text
from analysis.load import StudyResults
from analysis.markup import Grid, latex, markdown
from analysis.numbers import number, p_text, with_interval
from analysis.paper_tables import for_paper
from analysis.plain_text import csv_text, spell_out
from analysis.power_note import power_curve, power_note
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


def needed_text(needed: float) -> str:
    """Seeds that would decide, or that it is unknown."""
    return f"about {int(needed)}" if math.isfinite(needed) else "unknown"


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
