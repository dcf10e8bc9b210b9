"""Tables of the page: from text grids and frames; with JavaScript they sort by each column."""

import math
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.markup import Grid
from analysis.plain_text import csv_text
from analysis.report.html import Html, data_uri, escape, file_name, tag, text_of

NUMBER = re.compile(r"^[\[<≈]?\s*(?:about )?([+−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)")
UNDEFINED = ("", "n/a", "unknown", "control", "–", "-")
LONG = 60
"""Characters from which on a text is set in several lines."""
MOST_ROWS = 60
"""Rows of a data table that are shown; the download has all."""


def leading_number(text: str) -> float | None:
    """The number a cell begins with ("+31.0 [..]", "<0.001", "about 5"), None if there is none."""
    found = NUMBER.match(text.strip())
    return float(found[1].replace(",", "").replace("−", "-")) if found else None


def is_numeric(cells: Sequence[str]) -> bool:
    """Whether a column is sorted by number: all cells that are defined begin with one, and one is."""
    defined = [cell for cell in cells if cell not in UNDEFINED]
    return bool(defined) and all(leading_number(cell) is not None for cell in defined)


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
    caption: str,
    texts: Sequence[Sequence[str]] | None = None,
    sortable: bool = True,
) -> Html:
    """A table in a container of its own that scrolls; the first column heads the rows.

    rows may hold Html; texts are the same cells as text, by which columns are sorted (default: the rows themselves).
    """
    texts = texts if texts is not None else [[str(cell) for cell in row] for row in rows]
    numeric = [is_numeric([row[i] for row in texts]) for i in range(len(heads))]
    kinds = ["number" if each else "text" for each in numeric]
    head = [
        tag("th", name, scope="col", data_kind=kind if sortable else None, class_=kind)
        for name, kind in zip(heads, kinds, strict=True)
    ]
    body = []
    for row, text in zip(rows, texts, strict=True):
        cells = [
            _cell(cell, words, kind, first=j == 0, sortable=sortable)
            for j, (cell, words, kind) in enumerate(zip(row, text, kinds, strict=True))
        ]
        body.append(tag("tr", cells))
    inner = tag(
        "table",
        tag("caption", caption, class_="hidden"),
        tag("thead", tag("tr", head)),
        tag("tbody", body),
        class_="sortable" if sortable else None,
    )
    return scroll(inner, caption)


def _cell(cell: object, text: str, kind: str, first: bool, sortable: bool) -> Html:
    value = leading_number(text) if kind == "number" and text not in UNDEFINED else None
    key = None if not sortable else ("" if text in UNDEFINED else f"{value:g}" if kind == "number" else None)
    content = cell if isinstance(cell, Html) else text_of(cell)
    if first:
        return tag("th", content, scope="row", data_value=key)
    if len(text) > LONG and kind == "text":
        content = tag("div", content, class_="long")
    return tag("td", content, class_=kind, data_value=key)


def scroll(content: object, label: str) -> Html:
    """A box that scrolls sideways by itself, with touch and keyboard."""
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=label)


def grid_table(grid: Grid, links: Sequence[str] | None = None) -> Html:
    """A grid as a table; links: where the first cell of each row leads."""
    rows: list[list[object]] = [list(row) for row in grid.rows]
    for row, link in zip(rows, links or [], strict=False):
        row[0] = tag("a", text_of(row[0]), href=link)
    return table(grid.heads, rows, grid.title, texts=grid.rows)


def download(frame: pd.DataFrame, *name: str) -> Html:
    """A link that saves the frame as CSV in full precision."""
    text = csv_text(frame)
    return tag("a", f"{name[-1]}.csv", class_="download", href=data_uri(text), download=f"{file_name(*name)}.csv")


def cell_text(value: Any) -> str:
    """A value of a data table: six digits, empty where there is none."""
    if isinstance(value, float):
        return "" if not math.isfinite(value) else f"{value:.6g}"
    return "" if value is None else str(value)


def disclosure(title: str, frame: pd.DataFrame, *name: str) -> Html:
    """The data behind something: closed, with a table and a download."""
    shown = frame.head(MOST_ROWS)
    rows = [[cell_text(value) for value in row] for row in shown.itertuples(index=False, name=None)]
    more = f", the first {MOST_ROWS} shown" if len(frame) > MOST_ROWS else ""
    note = tag(
        "p", escape(f"{len(frame):,} rows{more}. All in full precision: "), download(frame, *name), class_="note"
    )
    inner = table([str(column) for column in frame.columns], rows, f"Data: {title}", sortable=False)
    return tag("details", tag("summary", f"Data: {title}"), note, inner, class_="data")
