"""Scores as they are written in tables: a true minus sign, n/a where there is none, an interval in brackets."""

import math

import pandas as pd

from analysis.stats import SHOWN
from analysis.tested import values_of


def number(value: float | None, digits: int = 1, sign: bool = False) -> str:
    """A number with a true minus sign, or n/a."""
    if value is None or not math.isfinite(value):
        return "n/a"
    text = f"{value:+,.{digits}f}" if sign else f"{value:,.{digits}f}"
    return text.replace("-", "−")


def with_interval(row: pd.Series, column: str, sign: bool = False, digits: int = 1) -> str:
    """ "71.2 [69.9, 72.5]", "71.2 (n/a)" where there is no interval, "n/a" where there is no value either.

    Of two seeds both values, "71.2 (70.3; 72.1)": see `stats.SHOWN`.
    """
    values = values_of(row, column)
    if 1 < len(values) < SHOWN:
        return f"{number(row[column], digits, sign)} ({'; '.join(number(each, digits, sign) for each in values)})"
    mean, low, high = (number(row[c], digits, sign) for c in (column, f"{column}_low", f"{column}_high"))
    if low == "n/a":
        return mean if mean == low else f"{mean} (n/a)"
    return f"{mean} [{low}, {high}]"


def p_text(p: float) -> str:
    """A p-value in three digits."""
    return "n/a" if not math.isfinite(p) else "<0.001" if p < 0.001 else f"{p:.3f}"
