"""Whether the scores of a study allow any verdict: not where there is nothing to compare.

There is no verdict, and a sentence that says why, where

- the preset's scores mean nothing (`PRESETS`);
- the control arm has not learned: neither lies the 95% t interval over seeds of its score above the floor, nor score
  more than half of its seeds `CLEAR` or more above it. The floor is what one and the same output for every sentence
  gets, as runs record it (floor/... in scores.json); of runs of earlier versions it is not known, and nothing is said;
- no arm has learned (of a study whose control has no result);
- every run of every arm is at the ceiling: `CEILING` or more of 100.

Of a study with groups (analysis/groups.py) the last three are asked of each group with its own control; where they are
so of some groups, there is no verdict on those alone.

A claim that compares the control with one other system has none by itself where that system has not learned.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.groups import Group, described
from analysis.stats import mean_interval_t

NO_VERDICT = "no verdict"
PRESETS = {"smoke": "it trains for a few updates, to see that all runs"}
"""Presets whose scores mean nothing, and why."""
HUNDRED = ("bleu", "chrf", "rouge1", "rouge2", "rougeL")
"""Metrics from 0 to 100; of others neither ceiling nor a clear distance is known."""
CLEAR, CEILING = 5.0, 99.0


def bounds(metric: str) -> tuple[float, float]:
    """The values that a metric can take, as far as they are known."""
    return (0.0, 100.0) if metric in HUNDRED else (-np.inf, np.inf)


def why_no_verdict(info: Mapping[str, Any], scores: pd.DataFrame, metric: str) -> str:
    """A sentence that says why, or nothing; info: of study.json. scores: a row per result."""
    preset = str(info.get("preset") or "")
    if preset in PRESETS:
        return f"No verdict: scores of preset {preset} mean nothing ({PRESETS[preset]})."
    if metric not in scores or scores.empty:
        return ""
    values = pd.to_numeric(scores[metric], errors="coerce")
    if metric in HUNDRED and bool((values >= CEILING).all()):
        return f"No verdict: all arms are at the ceiling, with scores of {CEILING:g} or more in every run."
    scores = scores.assign(**{metric: values})
    groups = _with_results(info, scores)
    if not groups:
        return _unlearned(scores, metric, info.get("control"))
    found = [why_none_of_group(group, scores, metric) for group in groups]
    return " ".join(found) if all(found) else ""


def why_none_of_arms(info: Mapping[str, Any], scores: pd.DataFrame, metric: str) -> dict[str, str]:
    """Why there is no verdict on some groups of arms: a sentence by the name of each of their arms."""
    if metric not in scores or scores.empty:
        return {}
    scores = scores.assign(**{metric: pd.to_numeric(scores[metric], errors="coerce")})
    said = {group.arms: why_none_of_group(group, scores, metric) for group in _with_results(info, scores)}
    return {arm: why for arms, why in said.items() if why for arm in arms}


def why_none_of_group(group: Group, scores: pd.DataFrame, metric: str) -> str:
    """A sentence that says why there is no verdict on a group, or nothing."""
    own = scores[scores["arm"].isin(group.arms)]
    if metric in HUNDRED and bool((own[metric] >= CEILING).all()):
        return f"No verdict on {group.level}: all its arms are at the ceiling, {CEILING:g} or more in every run."
    return _unlearned(own, metric, group.control, f" on {group.level}")


def _with_results(info: Mapping[str, Any], scores: pd.DataFrame) -> list[Group]:
    """The groups of a study of which an arm has a result."""
    return [group for group in described(info) if scores["arm"].isin(group.arms).any()]


def _unlearned(scores: pd.DataFrame, metric: str, control: str | None, whom: str = "") -> str:
    """That the control arm, or where it has no result no arm, has learned, if it is so. whom: " on X" of a group X."""
    own = scores[scores["arm"] == control]
    asked = own if len(own) else scores
    if not all(is_unlearned(rows, metric) for _, rows in asked.groupby("arm", sort=False)):
        return ""
    who = f"the control arm, {own['label'].iloc[0]}," if len(own) else "any arm"
    return f"No verdict{whom}: {unlearned_text(who, 'its score is' if len(own) else 'scores are', asked, metric)}"


def is_unlearned(rows: pd.DataFrame, metric: str) -> bool:
    """Whether nothing shows that an arm, whose results these are, has learned; false where its floor is not known."""
    above = above_floor(rows, metric)
    return bool(above.size) and not learned(above, metric)


def unlearned_text(who: str, whose: str, rows: pd.DataFrame, metric: str) -> str:
    """The sentence that says so; whose: the subject and verb of what is said of scores."""
    seeds = rows["seed"].nunique()
    over = f"over {seeds} seeds" if seeds > 1 else "with one seed"
    return (
        f"nothing shows that {who} has learned. With {rows[metric].mean():.3g} {over} {whose} not clearly "
        f"above {floors(rows, metric).mean():.3g}, which one and the same output for every sentence gets."
    )


def floors(rows: pd.DataFrame, metric: str) -> "pd.Series[float]":
    """What one and the same output for every sentence gets, of the results that say it."""
    name = f"floor/{metric}"
    return pd.to_numeric(rows[name], errors="coerce").dropna() if name in rows else pd.Series(dtype=float)


def above_floor(rows: pd.DataFrame, metric: str) -> np.ndarray:
    """How far the results of an arm lie above their floor [n]; of those that have one."""
    above = rows[metric] - floors(rows, metric)
    found: np.ndarray = above[np.isfinite(above)].to_numpy(dtype=float)
    return found


def learned(above: np.ndarray, metric: str) -> bool:
    """Whether an arm has learned, by how far its n >= 1 results lie above the floor [n]."""
    clear = float((above >= CLEAR).mean()) > 0.5
    if metric in HUNDRED and (clear or above.size == 1):
        return clear
    interval = mean_interval_t(above)
    return bool(interval.low > 0 if interval.defined else (above > 0).all())
