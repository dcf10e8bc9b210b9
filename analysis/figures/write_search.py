"""The tables and figures of a search, printed and written."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from analysis.choices import Choices
from analysis.figures.drawing import redraw_search
from analysis.files import describe_written, writing
from analysis.formats import FORMATS
from analysis.markup import Grid, latex, markdown
from analysis.plain_text import csv_text, spell_out
from analysis.searches import Search, load_search
from analysis.tables import main_rows, print_grids
from analysis.tuned.footer import search_footer
from analysis.tuned.tables import arms_grid, effects_grid, grids
from core.display import shown

WHERE = "{} has how to read this, importance and fronts, and how the search was made"


def narrow(grid: Grid) -> Grid:
    """The columns that a terminal of 80 characters has room for; the files have all."""
    return grid.without(
        {"verdict", "pruned", "updates", "work", "p (Holm)"} if grid.heads[0] == "arm" else {"p (Holm)"}
    )


def write_tables(found: Search, out: Path) -> list[Path]:
    """Write tables and frames into out."""
    out.mkdir(parents=True, exist_ok=True)
    tables, said = grids(found), search_footer(found)
    texts = {"tuned.md": markdown(tables, said), "tuned.tex": latex(tables, said)}
    frames = {"arms.csv": found.arms, "effects.csv": found.effects, "trials.csv": found.trials}
    texts |= {name: csv_text(f) for name, f in frames.items() if not f.empty}
    for name, content in texts.items():
        (out / name).write_text(content, encoding="utf-8")
    return [out / name for name in texts]


def show_and_write(
    path: Path,
    out: Path,
    formats: Iterable[str] = FORMATS,
    quiet: bool = False,
    style: Mapping[Any, Any] | None = None,
    choices: Choices | None = None,
    brief: bool = False,
) -> bool:
    """Print and write the tables of a search, and draw its figures; False if the folder holds no search.

    quiet: no tables are printed; brief: nothing else is.
    """
    with shown(stderr=True):
        found = load_search(path)
    if found is None:
        return False
    console = Console()
    printed = [arms_grid(found), *(main_rows(grid, found.effects) for grid in [effects_grid(found)] if grid)]
    if not quiet:
        print_grids(printed if console.width >= 150 else map(narrow, printed), found.banner, console)
    out = out / path.resolve().name
    with writing(), shown(stderr=True):
        written, skipped = redraw_search(found, out, formats, style, choices)
        written += write_tables(found, out)
    if not brief:
        print("\n".join([describe_written(written), *map(spell_out, skipped), WHERE.format(out / "tuned.md")]))
    return True
