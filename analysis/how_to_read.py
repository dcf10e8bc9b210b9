"""What stands below the tables of a study: what their columns and words mean."""

import pandas as pd

from analysis.effects import group_names
from analysis.groups import grouping
from analysis.load import StudyResults
from analysis.power_note import seeds_seen
from analysis.stats import SHOWN

FACTORIAL = (
    "Main effect: mean with the factor on minus mean with it off, over all settings of the others. Interaction of two: "
    "half of what one adds to the effect of the other (above 0 they reinforce each other, below 0 they overlap); of "
    "three: half of what the third adds to that.",
    "Interval, p and verdict: t over the seeds' own contrasts. Pooled: with the residual variance of all contrasts "
    "together (score = arm + seed + residual); narrower, and right only if all effects vary equally from seed to seed: "
    "of one that varies more than the others it is too narrow.",
)
"""How to read the table of effects."""
GROUPED = (
    "By {by}: “{x}” is the effect within {x}, over the seeds with a result in all its arms; “mean of {n}” the mean of "
    "these effects, with equal weights, and “{x} − others” how far that of {x} is from the mean of the others (the "
    "interaction of the effect with {by}), both over the seeds with a result in all arms. “Mean score: {x} − others”: "
    "the same of the mean over the arms. Differences to the control are to the control of the same {by}."
)
"""What is added for a study with groups."""
TWO_SEEDS = (
    "Of two seeds both values stand in place of an interval: Student's t with one degree of freedom reaches 12.7 "
    "standard errors either way. p and verdict are of that t test all the same. SEEDS=3 adds a seed."
)


def how_to_read(study: StudyResults, tested: pd.DataFrame) -> list[str]:
    """What the columns of the second table mean."""
    if tested.empty:
        return ["No effects: they need at least two arms, and a control arm with a result."]
    lines = [*FACTORIAL, *_grouped(study, tested)] if "order" in tested else _no_factorial(study)
    lines.append(
        f"Verdict: {_decided(tested)} only if the whole interval lies on one side of 0 and p is at most 0.05 "
        f"{_corrected(tested)}. Intervals are not corrected: each is a 95% interval by itself. Seeds needed: for a "
        "power of 80% if this difference and spread were the true ones (Bonferroni level); unknown without a spread "
        "or above 1,000."
    )
    seeds = int(tested["n_seeds"].max())
    if seeds < 2:
        few = "One seed" if seeds else "No seed has a result in both arms"
        return [*lines, f"{few}: no interval, no p and no verdict; start at least two seeds."]
    if ((tested["sd"] == 0) & (tested["n_seeds"] > 1)).any():
        lines.append("n/a although there are seeds: all gave the same difference, so how it varies is unknown.")
    if tested["n_seeds"].min() < SHOWN:
        lines.append(TWO_SEEDS)
    wide = f"With {seeds_seen(tested['n_seeds'])} intervals are wide. " if tested["n_seeds"].min() <= 4 else ""
    return [*lines, f"{wide}Undecided does not mean no effect."]


def _no_factorial(study: StudyResults) -> list[str]:
    """Why a study of several factors has no main effects; nothing for a study of one."""
    if len(study.factors) < 2:
        return []
    if study.groups or all(len(levels) == 2 for levels in study.factors.values()):
        return ["No main effects and interactions: they need a seed with a result in every combination of levels."]
    return [
        "No main effects and interactions: they are computed only where every factor has two levels, or all but one."
    ]


def _grouped(study: StudyResults, tested: pd.DataFrame) -> list[str]:
    """How to read the rows of groups, and which groups have none."""
    if "group" not in tested:
        return []
    by, there, names = grouping(study.factors), set(tested["group"]), group_names(study)
    own = [name for name in names if name in there]
    lines = [GROUPED.format(by=by.replace("_", " "), x=own[0], n=len(own))]
    if missing := [name for name in names if name not in there]:
        lines.append(
            f"No effects in {', '.join(missing)}: they need a seed with a result in every combination of levels."
        )
    return lines


def _decided(tested: pd.DataFrame) -> str:
    """The words of a decided verdict."""
    if "order" not in tested:
        return "higher or lower"
    others = "; “− others”: more or less, higher or lower" if "group" in tested else ""
    return f"helps or hurts (interactions: reinforce or overlap{others})"


def _corrected(tested: pd.DataFrame) -> str:
    """What Holm's correction counts together: comparisons that have a p."""
    if "group" in tested:
        return (
            "after Holm's correction, made apart among the main effects in all groups together, their interactions, "
            "the means of main effects, those of interactions, the distances of main effects, and those of mean scores"
        )
    if "order" in tested:
        return "after Holm's correction among the main effects, and apart from them among the interactions"
    count = int(tested["p"].notna().sum())
    if not count:
        return "after Holm's correction; here no difference has a p"
    return f"after Holm's correction among {count} differences" if count > 1 else "(one difference: nothing to correct)"


def how_to_read_best(frame: pd.DataFrame) -> str:
    """What the columns of that table mean."""
    count = int(frame["compared"].max())
    corrected = f"all {count} pairs of arms with equal calls that have a p" if count else "all pairs; here none has a p"
    return (
        "Best at each number of network calls: the arm with the highest mean, and its difference to the second, paired "
        "by seed. Decided: its difference to each other arm with as many calls has its whole interval above 0, and a p "
        f"of at most 0.05 after Holm's correction among {corrected}; the largest p is shown. The same scores pick "
        "the best and judge it: that is why every pair counts, whichever arm came out first. Not told "
        "apart: the arms for which that is not so; each may be the best."
    )
