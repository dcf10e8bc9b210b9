"""Values over seeds as columns of a frame: means with their intervals, tests, corrections, verdicts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.judging import NO_VERDICT
from analysis.power import seeds_to_separate
from analysis.stats import (
    Interval,
    Values,
    holm,
    mean_interval_bootstrap,
    mean_interval_studentized,
    mean_interval_t,
    no_spread,
    sign_pvalue,
    t_pvalue,
    verdict,
)

SIDES = {"helps": "higher", "hurts": "lower", "undecided": "undecided"}
"""The words for scores, of which one is compared with another."""
WORDS = {
    "interaction": {"helps": "reinforce", "hurts": "overlap", "undecided": "undecided"},
    "between": {"helps": "more", "hurts": "less", "undecided": "undecided"},
    "group": SIDES,
    "difference": SIDES,
}
"""Verdicts by kind of comparison, where they are not helps and hurts. An interaction: above zero the factors do more
together, below zero less. Between groups: an effect is more or less than in the others."""


def interval_columns(prefix: str, interval: Interval) -> dict[str, float]:
    """The three columns of an interval."""
    return {prefix: interval.estimate, f"{prefix}_low": interval.low, f"{prefix}_high": interval.high}


def mean_columns(prefix: str, values: Values) -> dict[str, Any]:
    """The columns of a mean over seeds: estimate, t interval, and the values themselves, as text."""
    listed = " ".join(repr(float(value)) for value in values)
    return interval_columns(prefix, mean_interval_t(values)) | {f"{prefix}_values": listed}


def values_of(row: "Mapping[str, Any] | pd.Series[Any]", prefix: str) -> list[float]:
    """The values that a mean is of, where a row has them."""
    listed = row.get(f"{prefix}_values")
    return [float(each) for each in listed.split()] if isinstance(listed, str) else []


def bootstraps(values: Values) -> dict[str, float]:
    """Bounds of the two bootstrap intervals, beside those of t."""
    pairs = (("bootstrap", mean_interval_bootstrap(values)), ("studentized", mean_interval_studentized(values)))
    return {f"{name}_{end}": getattr(each, end) for name, each in pairs for end in ("low", "high")}


def tested(x: np.ndarray) -> dict[str, Any]:
    """Estimate, interval and p-values of differences x, one per seed; `_x` is for `finish`."""
    columns = mean_columns("estimate", x) | bootstraps(x)
    spread = (0.0 if no_spread(x) else float(x.std(ddof=1))) if x.size > 1 else math.nan
    return columns | {"n_seeds": x.size, "sd": spread, "p": t_pvalue(x), "p_sign": sign_pvalue(x), "_x": x}


def finish(family: Sequence[dict[str, Any]]) -> None:
    """Add to rows what needs the whole family of comparisons (Holm) or rests on it (verdicts, seeds needed)."""
    for p, holm_p, name in (("p", "p_holm", "verdict"), ("pooled_p", "pooled_p_holm", "pooled_verdict")):
        rows = [row for row in family if p in row]
        for row, adjusted in zip(rows, holm([row[p] for row in rows]), strict=True):
            interval = mean_interval_t(row["_x"]) if p == "p" else row["_pooled"]
            said = verdict(interval, p_adjusted=float(adjusted))
            row[holm_p] = float(adjusted)
            row[name] = WORDS.get(row["kind"], {}).get(said, said)
    for row in family:
        needed = seeds_to_separate(row["_x"], level=1 - 0.05 / len(family)) if row["verdict"] == "undecided" else None
        row["seeds_needed"] = math.nan if needed is None else float(needed)


def framed(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Finished rows as a frame."""
    return pd.DataFrame(rows).drop(columns=["_x", "_pooled"], errors="ignore")


def judged(frame: pd.DataFrame, no_verdict: str, which: "pd.Series[bool] | slice" = slice(None)) -> pd.DataFrame:
    """The comparisons without verdicts, and without the seeds that would give one, where there can be none.

    no_verdict: why; empty if there can be some. which: the rows that it is said of; all.
    """
    if not no_verdict or frame.empty:
        return frame
    found = frame.copy()
    found.loc[which, [name for name in found if str(name).removeprefix("pooled_") == "verdict"]] = NO_VERDICT
    if "seeds_needed" in found:
        found.loc[which, "seeds_needed"] = math.nan
    return found
