"""Effects of a study's factors: main effects and interactions of a two-level factorial, whole or group by group."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.groups import Group, grouping
from analysis.levels import level_text, on_levels
from analysis.load import ArmResults, StudyResults
from analysis.stats import factorial_effects
from analysis.tested import finish, framed, judged, tested

Cells = tuple[np.ndarray, list[int]]
"""Scores [n, 2, ..., 2] (index 1 = on) of n seeds, and those seeds."""
MEAN = "mean of {}"
OTHERS = "{} - others"
"""What stands in the column `group` beside the names of groups."""


def two_level(study: StudyResults) -> dict[str, list[Any]]:
    """The factors whose effects are asked for: all but the one that a study is grouped by."""
    by = grouping(study.factors)
    return {name: levels for name, levels in study.factors.items() if name != by}


def is_complete(factors: Mapping[str, Sequence[Any]], arms: Sequence[ArmResults]) -> bool:
    """Whether the arms are all combinations of the factors' levels."""
    present = [tuple(arm.toggles.get(name) for name in factors) for arm in arms]
    combinations = list(itertools.product(*factors.values()))
    return len(present) == len(combinations) and all(each in present for each in combinations)


def is_factorial(study: StudyResults) -> bool:
    """Whether the arms with results are all 2^k combinations of k >= 2 two-level factors."""
    levels = list(study.factors.values())
    return len(levels) >= 2 and all(len(each) == 2 for each in levels) and is_complete(study.factors, study.arms)


def factorial_cells(study: StudyResults) -> Cells:
    """The scores of the seeds with a result in all arms of a factorial; empty if the study is none."""
    return cells_of(study, study.factors, study.arms) if is_factorial(study) else (np.zeros(0), [])


def cells_of(study: StudyResults, factors: Mapping[str, Sequence[Any]], arms: Sequence[ArmResults]) -> Cells:
    """The scores of the seeds with a result in all of these arms, which are complete in these two-level factors."""
    on = on_levels(study)
    values = {arm.name: study.values(study.metric, arm.name) for arm in arms}
    seeds = sorted(set.intersection(*[set(each) for each in values.values()]))
    cells = np.full((len(seeds), *(2,) * len(factors)), np.nan)
    for arm in arms:
        where: tuple[Any, ...] = tuple(int(arm.toggles[name] == on[name]) for name in factors)
        cells[(slice(None), *where)] = [values[arm.name][seed] for seed in seeds]
    return cells, seeds


def group_names(study: StudyResults) -> list[str]:
    """The groups as they are written, in their order."""
    return [level_text(study, grouping(study.factors), group.level) for group in study.groups]


def group_cells(study: StudyResults) -> list[tuple[Group, Cells]]:
    """The groups that are complete factorials of one or more factors and have a seed in all their arms."""
    factors, found = two_level(study), []
    for group in study.groups:
        arms = [arm for arm in study.arms if arm.name in group.arms]
        if is_complete(factors, arms):
            cells = cells_of(study, factors, arms)
            found += [(group, cells)] if cells[1] else []
    return found


def complete_seeds(study: StudyResults) -> list[int]:
    """The seeds that effects over the whole study rest on."""
    if not study.groups:
        return factorial_cells(study)[1]
    found = group_cells(study)
    return sorted(set.intersection(*[set(seeds) for _, (_, seeds) in found])) if found else []


def effects(study: StudyResults) -> pd.DataFrame:
    """A row per main effect and interaction of a complete two-level factorial; empty if the study is none.

    Only seeds that have a result in all arms count. Holm's correction is made twice: for the main effects, which are
    the study's questions, and for the interactions. pooled_*: with the pooled residual variance (`stats.Effect`).
    Of a study with groups: see `group_effects`.
    """
    if study.groups:
        return group_effects(study)
    cells, seeds = factorial_cells(study)
    return judged(effects_of(cells, list(study.factors)), study.no_verdict) if len(seeds) else pd.DataFrame()


def effects_of(cells: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """The same for scores [n seeds, 2, ..., 2] (index 1 = on), or for differences of scores."""
    rows = effect_rows(cells, names)
    for family in (rows[: len(names)], rows[len(names) :]):
        finish(family)
    return framed(rows)


def effect_rows(cells: np.ndarray, names: Sequence[str], **more: Any) -> list[dict[str, Any]]:
    """A row per effect, main effects first, not yet corrected; more: further columns."""
    rows = []
    for effect in factorial_effects(cells):
        label = " x ".join(names[axis] for axis in effect.axes)
        row = {"effect": label, "order": len(effect.axes), "kind": "interaction" if len(effect.axes) > 1 else "main"}
        pooled = {"pooled_low": effect.pooled.low, "pooled_high": effect.pooled.high, "pooled_p": effect.p_pooled}
        rows.append(row | more | tested(effect.per_seed) | pooled | {"_pooled": effect.pooled})
    return rows


def group_effects(study: StudyResults) -> pd.DataFrame:
    """Rows effect by effect: in each group, the mean of the groups, and how far each group is from the others.

    group: "X" (the effect in X), "mean of 3" (of the effects in the groups, equal weights), or "X - others" (effect in
    X minus the mean of those in the other groups: how it interacts with the grouping factor; main effects alone). Last,
    under the grouping factor's name, the mean score of X minus that of the others. What is of one group is over the
    seeds with a result in all its arms, the rest over those with one in all arms of all groups.

    Holm's correction is made apart for: main effects in groups, interactions in groups, means of main effects, means of
    interactions, distances of main effects, distances of scores.
    """
    names, by = list(two_level(study)), grouping(study.factors)
    found = [(level_text(study, by, group.level), group, *cells) for group, cells in group_cells(study)]
    if not found:
        return pd.DataFrame()
    families = [row for name, _, cells, _ in found for row in effect_rows(cells, names, group=name)]
    own = [families]
    common = set.intersection(*[set(seeds) for *_, seeds in found])
    if len(found) > 1 and common:
        shared = np.stack([cells[[seed in common for seed in seeds]] for _, _, cells, seeds in found])
        own.append(effect_rows(shared.mean(axis=0), names, group=MEAN.format(len(found))))
        own += _distances(shared, [name for name, *_ in found], names, by)
    for rows in own:
        for kind in dict.fromkeys(row["kind"] for row in rows):
            finish([row for row in rows if row["kind"] == kind])
    order = list(dict.fromkeys(row["effect"] for row in families))
    frame = framed(sorted(itertools.chain(*own), key=lambda row: [*order, by].index(row["effect"])))
    frame = judged(frame, study.no_verdict)
    return _judged_by_group(study, frame, [(name, group) for name, group, *_ in found])


def _distances(cells: np.ndarray, groups: Sequence[str], names: Sequence[str], by: str) -> list[list[dict[str, Any]]]:
    """How far each group is from the others, by the scores [groups, n, 2, ..., 2] of the same seeds."""
    effects_, means = [], []
    for i, group in enumerate(groups):
        apart = cells[i] - np.delete(cells, i, axis=0).mean(axis=0)
        rows = effect_rows(apart, names, group=OTHERS.format(group))
        effects_ += [row | {"kind": "between", "order": 2} for row in rows if row["kind"] == "main"]
        mean = apart.reshape(len(apart), -1).mean(axis=1)
        means.append({"effect": by, "order": 1, "kind": "group", "group": OTHERS.format(group)} | tested(mean))
    return [effects_, means]


def _judged_by_group(study: StudyResults, frame: pd.DataFrame, groups: Sequence[tuple[str, Group]]) -> pd.DataFrame:
    """Without verdicts on groups that allow none, nor on what they are part of."""
    without = {name: study.no_verdicts.get(group.arms[0], "") for name, group in groups}
    without = {name: why for name, why in without.items() if why}
    if not without:
        return frame
    alone = frame["group"].isin([name for name, _ in groups if name not in without])
    return judged(frame, " ".join(without.values()), ~alone)
