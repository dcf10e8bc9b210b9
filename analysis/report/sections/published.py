"""Published beside measured: what papers say of the methods of a study, each number with its protocol."""

from analysis.beside_grids import beside
from analysis.load import StudyResults
from analysis.report.html import join, tag
from analysis.report.html_tables import download, grid_table
from analysis.report.section import Section


def published_section(study: StudyResults) -> Section | None:
    """The tables of analysis/beside_grids.py; None for a study whose arms are of one method."""
    found = beside(study)
    if found is None:
        return None
    said = tag("ul", [tag("li", line) for line in found.lines], class_="note")
    parts = [join(tag("h3", grid.title), grid_table(grid)) for grid in found.grids]
    saved = tag("p", "With all columns: ", download(found.frame, study.name, "published"), class_="note")
    return Section("published", "Published beside measured", join(said, parts, saved))
