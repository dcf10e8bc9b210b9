"""The power note: what the seeds of a study could find, and how many would separate its arms.

The spread over seeds is the study's own, apart for each comparison: the main effects of a factorial, or the differences
to the control.
"""

from typing import Any

import pandas as pd

from analysis.judging import NO_VERDICT
from analysis.load import StudyResults
from analysis.power import LEVEL, POWER, detectable, power, spread_factors
from analysis.results import MAIN, comparison_name, comparisons, metric_name

SEEDS = (2, 3, 4, 5, 7, 10, 15, 20)
"""Numbers of seeds of the power curve."""


def main_comparisons(study: StudyResults) -> pd.DataFrame:
    """Main effects or differences on which there can be a verdict, with `name`; empty if there are none.

    Of a study with groups those in the groups and their means together: one question more for each mean.
    """
    frame = comparisons(study)
    if len(frame):
        frame = frame[frame["kind"].isin(MAIN)]
    if study.no_verdicts and len(frame):
        frame = frame[frame["verdict"] != NO_VERDICT]
    return frame.assign(name=[comparison_name(study, row) for _, row in frame.iterrows()])


def power_curve(study: StudyResults) -> pd.DataFrame:
    """A row per comparison and number of seeds: what can be found then, and how probably what was seen would be.

    detectable: the smallest true difference found with a probability of 80% by a paired t test at two-sided 5% over the
    number of comparisons (Bonferroni), if seeds scatter as they did here (`sd`). power: that of a true difference as
    large as the one seen. Comparisons without a spread are left out.
    """
    asked = main_comparisons(study)
    level = 1 - (1 - LEVEL) / max(1, len(asked))
    present = set(asked["n_seeds"]) if len(asked) else set()
    counts = sorted(n for n in {*SEEDS, *present} if n > 1)
    smallest = {n: detectable(n, level) for n in counts}
    rows = []
    for row in asked.to_dict("records"):
        if not row["sd"] > 0:
            continue
        effect = abs(row["estimate"]) / row["sd"]
        head = {"comparison": row["name"], "seen": row["estimate"], "sd": row["sd"], "seeds_here": row["n_seeds"]}
        for n in counts:
            rows.append(head | {"seeds": n, "detectable": smallest[n] * row["sd"], "power": power(n, effect, level)})
    return pd.DataFrame(rows)


def power_note(study: StudyResults) -> list[str]:
    """Sentences: the smallest difference that these seeds find, that more seeds would, and how sure the spread is."""
    asked, curve = main_comparisons(study), power_curve(study)
    if curve.empty:
        return [f"Power: unknown, {_why_unknown(asked)}."]
    metric, now = metric_name(study), curve["seeds_here"]
    test = f"paired t test over seeds at two-sided 5%, Bonferroni for {len(asked)}"
    here = curve[curve["seeds"] == now]
    left_out = len(asked) - len(here)
    without = f" ({left_out} more without a spread over seeds: unknown)" if left_out else ""
    low, high = spread_factors(int(now.min()))
    return [
        f"Power: with {seeds_seen(now)} a true difference is found with a probability of {POWER:.0%} ({test}) from "
        f"about this size on, in {metric}: {_listed(here, 'detectable')}{without}.",
        f"{_more(curve)}An orientation: the true standard deviation may be {low:.2f} to {high:.1f} times what "
        f"{int(now.min())} seeds show (95% interval, if seeds scatter normally).",
    ]


def _why_unknown(asked: pd.DataFrame) -> str:
    """Why there is no power to speak of."""
    if asked.empty:
        return "there is nothing to compare"
    if asked["n_seeds"].max() < 2:
        return "a spread over seeds needs two seeds at least"
    return "all seeds gave the same differences: how they vary is not known"


def _more(curve: pd.DataFrame) -> str:
    """What the next larger numbers of seeds would find; empty beyond the last."""
    more = [n for n in SEEDS if n > curve["seeds_here"].max()][:3]
    sizes = "; ".join(f"with {n} seeds {_range(curve[curve['seeds'] == n]['detectable'])}" for n in more)
    return f"More seeds, if they scatter as these do: {sizes}. " if more else ""


def seeds_seen(counts: "pd.Series[Any]") -> str:
    """ "3 seeds", or "2 to 5 seeds" where comparisons have different numbers."""
    low, high = int(counts.min()), int(counts.max())
    return f"{low} to {high} seeds" if low < high else f"{high} seed{'s' * (high != 1)}"


def _listed(rows: pd.DataFrame, column: str) -> str:
    """ "anchor loss 19.1, embedding norm 12.0", or a range where there are more than four."""
    if len(rows) > 4:
        return _range(rows[column])
    return ", ".join(f"{row['comparison']} {_size(row[column])}" for row in rows.to_dict("records"))


def _range(values: "pd.Series[Any]") -> str:
    low, high = _size(values.min()), _size(values.max())
    return low if low == high else f"{low} to {high}"


def _size(value: float) -> str:
    """One decimal; no 0.0, for no seeds find a difference of nothing."""
    return f"{value:.1g}" if value < 0.1 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
