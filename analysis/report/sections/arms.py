"""The ablation table and the table of effects, with their downloads; each row leads to its runs."""

from analysis.by_calls import best
from analysis.how_to_read import how_to_read, how_to_read_best
from analysis.load import StudyResults
from analysis.markup import Grid
from analysis.power_note import power_curve, power_note
from analysis.report.html import Html, join, tag
from analysis.report.html_tables import download, grid_table
from analysis.report.section import Section
from analysis.results import ablation, comparisons, metric_name
from analysis.sentences import compare, sentence_note
from analysis.tables import ablation_grid, best_grid, tested_grid


def arms_section(study: StudyResults) -> Section:
    """A row per arm; its name leads to its runs."""
    frame = ablation(study)
    grid = score_first(study, ablation_grid(study, frame))
    links = [f"#arm-{i}" for i in range(len(study.arms))]
    note = tag(
        "p",
        "An arm's name leads to its runs. Scores are means over seeds; intervals are 95%, Student's t over seeds (n/a "
        "with one seed, or where all are equal); differences are over the seeds that both arms have, paired, and not "
        "corrected for their number. In full precision: ",
        download(frame, study.name, "arms"),
        class_="note",
    )
    return Section("arms", "Ablation table", join(grid_table(grid, links), note))


def score_first(study: StudyResults, grid: Grid) -> Grid:
    """The columns with the score and its difference before the toggles, which the arms' names tell already."""
    first = ["arm", f"{metric_name(study)} [95% interval]", "difference to control"]
    order = [grid.heads.index(head) for head in first if head in grid.heads]
    return grid.columns([*order, *(i for i in range(len(grid.heads)) if i not in order)])


def effects_section(study: StudyResults) -> Section:
    """A row per effect or difference; below it how to read it, what these seeds can find, and what sentences say."""
    frame, (sentences, left_out) = comparisons(study), compare(study)
    lines = how_to_read(study, frame) + power_note(study) + sentence_note(sentences, left_out, metric_name(study))
    notes = tag("ul", [tag("li", line) for line in lines], class_="note")
    if frame.empty:
        return Section("effects", "Effects", notes)
    title = "Effects" if "order" in frame else "Differences to the control"
    table = grid_table(tested_grid(study, frame), ["#runs"] * len(frame))
    frames = {"effects": frame, "sentences": sentences, "power": power_curve(study)}
    files = [(" ", download(each, study.name, name)) for name, each in frames.items() if len(each)]
    source = tag("p", "Each row rests on ", _runs(), ". In full precision:", files, class_="note")
    return Section("effects", title, join(table, source, notes))


def best_section(study: StudyResults) -> Section | None:
    """Which arm is best at each number of network calls, where a study varies these."""
    frame = best(study)
    if frame.empty:
        return None
    note = tag("p", how_to_read_best(frame), " In full precision: ", download(frame, study.name, "best"), class_="note")
    table = grid_table(best_grid(study, frame), ["#runs"] * len(frame))
    return Section("best", "Best at each number of network calls", join(table, note))


def _runs() -> Html:
    return tag("a", "the runs below", href="#runs")
