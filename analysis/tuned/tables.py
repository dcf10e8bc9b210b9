"""The tables of a search as text: arms and effects in two columns, importance, the front of score and time."""

import math
from typing import Any

import pandas as pd

from analysis.markup import Grid
from analysis.numbers import number, p_text, with_interval
from analysis.results import NAMES, effect_name
from analysis.searches import Search, label

WHAT = "All arms at the default, and each arm at its own best"


CHANGE = {"helps": "rises", "reinforce": "rises", "hurts": "falls", "overlap": "falls"}
"""A change of an effect neither helps nor hurts."""


def value_text(value: Any) -> str:
    """A value of an option in three digits; n/a for an option that an arm does not have."""
    if isinstance(value, float):
        return "n/a" if math.isnan(value) else f"{value:.3g}"
    return str(value)


def arms_grid(found: Search) -> Grid:
    """The table of two columns: a row per arm."""
    name = NAMES.get(found.metric, found.metric)
    heads = (
        "arm",
        f"{name} at the default [95%]",
        f"{name} at its own best [95%]",
        "difference [95%]",
        "seeds",
        "verdict",
    )
    rows = []
    for _, row in found.arms.iterrows():
        cells = [row["label"], with_interval(row, "default"), with_interval(row, "best")]
        cells += [with_interval(row, "difference", sign=True), seeds_of(row), row["verdict"]]
        cells.append(options_text(found, row["arm"]))
        rows.append(tuple([*cells, *_spent(row)]))
    spent = ("trials", "pruned", "updates", "work")
    return Grid(f"{WHAT}: {found.search['study']}", (*heads, "tuned options", *spent), tuple(rows))


def seeds_of(row: pd.Series) -> str:
    """The number of seeds behind a row: of both columns, or of each if one has no result."""
    default, best = int(row["default_n"]), int(row["best_n"])
    return str(default) if default == best else f"{default} / {best}"


def _spent(row: pd.Series) -> list[str]:
    trials = f"{row['spent/trials']} + {row['spent/decodings']}"
    return [trials, str(row["spent/pruned"]), f"{row['spent/updates']:,}", f"{row['spent/seconds'] / 60:.0f} min"]


def options_text(found: Search, arm: str) -> str:
    """What the best point changes: "learning rate 0.0071, K 10 (else default)"."""
    point = found.points.get(arm)
    if not point:
        return "no complete trial"
    changed = {n: v for n, v in point["params"].items() if v != found.space(arm)["defaults"].get(n)}
    return ", ".join(f"{label(n)} {value_text(v)}" for n, v in changed.items()) or "the default"


def effects_grid(found: Search) -> Grid | None:
    """The effects of the factorial in two columns, and what tuning changed about them."""
    if found.effects.empty or found.default is None:
        return None
    name = NAMES.get(found.metric, found.metric)
    heads = ["effect"]
    for what in (f"{name} at the default [95%]", f"{name} at own best [95%]", "change [95%]"):
        heads += [what, "p (Holm)", "verdict"]
    rows = []
    for _, row in found.effects.iterrows():
        cells = [effect_name(found.default, row["effect"])]
        for when in ("default", "best", "change"):
            ends = ("", "_low", "_high", "_values")
            columns = {f"estimate{end}": row[f"estimate{end}_{when}"] for end in ends}
            cells += [with_interval(pd.Series(columns), "estimate", sign=True), p_text(row[f"p_holm_{when}"])]
            cells.append(
                CHANGE.get(row["verdict_change"], row["verdict_change"]) if when == "change" else row[f"verdict_{when}"]
            )
        rows.append(tuple(cells))
    return Grid(f"Effects: {found.search['study']}", tuple(heads), tuple(rows))


def importance_grid(found: Search) -> Grid | None:
    """Shares of variance, a row per arm."""
    if found.importance.empty:
        return None
    options = list(dict.fromkeys(found.importance["option"]))
    options = [*found.search["dimensions"], *(o for o in options if o not in found.search["dimensions"])]
    rows = []
    for _, own in found.importance.groupby("arm", sort=False):
        shares = dict(zip(own["option"], own["share"], strict=True))
        texts = [number(shares.get(option, math.nan), 2) if option in shares else "" for option in options]
        rows.append((str(own["label"].iloc[0]), *texts))
    return Grid("Importance (fANOVA)", ("arm", *map(label, options)), tuple(rows))


def pareto_grid(found: Search) -> Grid | None:
    """The trials that no other one of their arm beats in score and in time."""
    if not found.search.get("pareto") or found.trials.empty:
        return None
    front = found.trials[found.trials["front"]].sort_values(["arm", "decode_ms"], kind="stable")
    options = [name for name in found.search["dimensions"] if f"option/{name}" in front]
    rows = [
        (row["label"], number(row["value"]), number(row["decode_ms"], 2))
        + tuple(value_text(row[f"option/{name}"]) for name in options)
        for _, row in front.iterrows()
    ]
    heads = ("arm", "validation score", "CPU ms per sentence", *map(label, options))
    return Grid("Pareto front: score against decoding time", heads, tuple(rows))


def grids(found: Search) -> list[Grid]:
    """All tables there are."""
    made = [arms_grid(found), effects_grid(found), importance_grid(found), pareto_grid(found)]
    return [grid for grid in made if grid is not None]
