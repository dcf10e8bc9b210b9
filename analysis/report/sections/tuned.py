"""The two columns of a search: all arms at the default, each arm at its own best."""

from pathlib import Path

from analysis.load import StudyResults
from analysis.report.html import join, tag
from analysis.report.html_tables import download, grid_table
from analysis.report.section import Section
from analysis.searches import Search, load_search
from analysis.tuned.footer import search_footer
from analysis.tuned.tables import grids
from core.run_folder import SEARCH, try_read


def tuned_section(study: StudyResults) -> Section | None:
    """The tables of a search, None for a study without one."""
    found = search_of(study.path)
    if found is None:
        return None
    parts = [join(tag("h3", grid.title), grid_table(grid)) for grid in grids(found)]
    notes = tag("ul", [tag("li", line) for line in search_footer(found)], class_="note")
    saved = tag("p", "In full precision: ", download(found.arms, study.name, "tuned"), class_="note")
    return Section("tuned", "At the default and at its own best", join(parts, saved, notes))


def search_of(folder: Path) -> Search | None:
    """The search that a study's folder holds or belongs to: one beside it names the folder in its search.json."""
    for file in [folder / SEARCH, *sorted(folder.parent.glob(f"*/{SEARCH}"))]:
        search, _ = try_read(file)
        if isinstance(search, dict) and (
            file.parent == folder or folder.resolve().name in (search.get("default"), search.get("tuned"))
        ):
            return load_search(file.parent)
    return None
