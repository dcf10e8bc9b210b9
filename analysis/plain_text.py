"""Text of others as text: in one line, with nothing hidden; in a CSV file no formula."""

import pandas as pd

from core.reading.typed import printable


def spell_out(text: object) -> str:
    """Text with each hidden character spelled out, such as ⟨U+202E⟩."""
    return printable(str(text))


def one_line(text: object) -> str:
    """Text in one line, with nothing hidden."""
    return " ".join(spell_out(text).split())


def csv_text(frame: pd.DataFrame) -> str:
    """The frame as CSV. A text that a spreadsheet takes for a formula gets an apostrophe before it; numbers stay."""
    texts = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    safe = frame.assign(**{name: frame[name].map(_no_formula) for name in texts}).rename(columns=_no_formula)
    return safe.to_csv(index=False, lineterminator="\n")


def _no_formula(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
