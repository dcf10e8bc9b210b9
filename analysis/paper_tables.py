"""The tables of a study as a paper has them: fewer columns, a caption, a label, the best of a column in bold."""

from dataclasses import replace

import pandas as pd

from analysis.load import StudyResults
from analysis.markup import Grid
from analysis.results import NETWORK, OTHER_SCORES, metric_name, score_digits

HIGHER = ("bleu", "chrf", "rougeL")
"""Other scores of which more is better whatever the study."""
LEFT_OUT = {"seeds", "p", "seeds needed", "pooled interval", "pooled p (Holm)", "pooled verdict"}
LEFT_OUT |= {OTHER_SCORES["length_ratio"], OTHER_SCORES["cost/decode_sentences_per_cpu_s"]}
LEFT_OUT |= {NETWORK["cost/train_tokens_per_s"]}
"""What the other files have beside it, for which a page has no room."""


def for_paper(study: StudyResults, grids: list[Grid], arms: pd.DataFrame, counts: str) -> list[Grid]:
    """The tables with what LaTeX needs of them; arms: the frame behind the first. counts: such as "3 seeds"."""
    toggles = {name.replace("_", " ") for name in study.factors}  # an arm's name says them
    spread = "mean and both values of two seeds" if counts == "2 seeds" else f"mean and 95% t interval over {counts}"
    end = f" {study.banner}." if study.banner and not study.banner.endswith(".") else f" {study.banner}".rstrip()
    best = best_cells(study, grids[0], arms)
    marked = "; the best in bold" if best else ""
    made = [
        replace(
            grids[0],
            caption=f"{metric_name(study)} and other scores of the arms of {study.name}: {spread}{marked}.{end}",
            label=f"{study.name}-arms",
            bold=best,
        )
    ]
    for grid in grids[1:]:
        kind = grid.heads[0]
        tested = "" if study.no_verdict else " p after Holm's correction."
        caption = f"{kind.capitalize()}s in {metric_name(study)} in {study.name}: {spread}.{tested}{end}"
        made.append(replace(grid, caption=caption, label=f"{study.name}-{kind}s"))
    return [grid.without(LEFT_OUT | toggles) for grid in made]


def best_cells(study: StudyResults, grid: Grid, arms: pd.DataFrame) -> frozenset[tuple[int, int]]:
    """(row, column) of the highest of each score, equals included; none where scores say nothing."""
    if study.no_verdict or len(arms) < 2:
        return frozenset()
    score = grid.heads[grid.heads.index("seeds") + 1]
    columns = {study.metric: score} | {
        name: OTHER_SCORES[name] for name in HIGHER if name in arms and name in OTHER_SCORES and name != study.metric
    }
    best = set()
    for name, head in columns.items():
        if head in grid.heads and arms[name].notna().any():
            shown = arms[name].round(score_digits(study) if name == study.metric else 1)  # as it stands in the table
            best |= {(row, grid.heads.index(head)) for row in range(len(arms)) if shown.iloc[row] == shown.max()}
    return frozenset(best)
