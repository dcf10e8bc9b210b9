"""The ablation table and the table of effects, with their downloads; each row leads to its runs."""

import pandas as pd

from analysis.load import Study
from analysis.report.html import Html, join, tag
from analysis.report.section import Section
from analysis.report.tables import download, grid_table
from analysis.results import ablation, differences, effects, metric_name
from analysis.tables import Grid, ablation_grid, how_to_read, tested_grid


def tested(study: Study) -> pd.DataFrame:
    """Effects of a factorial, else differences to the control; may be empty."""
    frame = effects(study)
    return frame if len(frame) else differences(study)


def arms_section(study: Study) -> Section:
    """A row per arm; its name leads to its runs."""
    frame = ablation(study)
    grid = score_first(study, ablation_grid(study, frame))
    links = [f"#arm-{i}" for i in range(len(study.arms))]
    note = tag(
        "p",
        "An arm's name leads to its runs. Scores are means over seeds; intervals are 95%, Student's t over seeds (n/a "
        "with one seed); differences are paired by seed. In full precision: ",
        download(frame, study.name, "arms"),
        class_="note",
    )
    return Section("arms", "Ablation table", join(grid_table(grid, links), note))


def score_first(study: Study, grid: Grid) -> Grid:
    """The columns with the score and its difference before the toggles, which the arms' names tell already."""
    first = ["arm", f"{metric_name(study)} [95% interval]", "difference to control"]
    order = [grid.heads.index(head) for head in first if head in grid.heads]
    order += [i for i in range(len(grid.heads)) if i not in order]
    rows = tuple(tuple(row[i] for i in order) for row in grid.rows)
    return Grid(grid.title, tuple(grid.heads[i] for i in order), rows)


def effects_section(study: Study) -> Section:
    """A row per effect or difference, and how to read the columns."""
    frame = tested(study)
    lines = tag("ul", [tag("li", line) for line in how_to_read(study, frame)], class_="note")
    if frame.empty:
        return Section("effects", "Effects", lines)
    title = "Effects" if "order" in frame else "Differences to the control"
    grid = tested_grid(study, frame)
    source = tag("p", "Each row rests on ", _runs(), ". In full precision: ", download(frame, study.name, "effects"))
    return Section("effects", title, join(grid_table(grid, ["#runs"] * len(frame)), source, lines))


def _runs() -> Html:
    return tag("a", "the runs below", href="#runs")
