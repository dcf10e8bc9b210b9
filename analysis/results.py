"""The numbers behind the tables and the ablation figure: arms, factorial effects, differences to the control.

Frames in full precision; analysis.tables formats them, analysis.figures.ablation draws them.
"""

import math
from typing import Any

import numpy as np
import pandas as pd

from analysis.effects import effects as effects
from analysis.groups import grouping
from analysis.judging import HUNDRED
from analysis.levels import on_levels, short, toggle_text
from analysis.load import StudyResults
from analysis.stats import paired, t_pvalue
from analysis.tested import bootstraps, finish, framed, judged, mean_columns, tested

NAMES = {"bleu": "BLEU", "chrf": "chrF", "rougeL": "ROUGE-L"}

OTHER_SCORES = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "rougeL": "ROUGE-L",
    "brevity_penalty": "BP",
    "length_ratio": "length ratio",
    "cost/decode_sentences_per_cpu_s": "sentences per CPU-s",
}
"""Columns of `StudyResults.scores` that stand beside the study's metric, with their names in the table."""
NETWORK = {
    "network_calls": "network calls",
    "cost/parameters": "parameters",
    "cost/train_tokens_per_s": "training tokens/s",
}
"""The same for arms that differ in their networks, or in how often they call them."""
OWN, OWN_SIGNATURE = "own/", "own_signature/"
"""Begin the names of scores that `make rescore` made by functions of the user's, which stand there too, and of those
functions."""

MAIN = ("main", "difference")
"""Kinds of comparisons that a study is made for; the others say how these hang together."""


def metric_name(study: StudyResults) -> str:
    """The study's metric as it is written."""
    return NAMES.get(study.metric, study.metric.removeprefix(OWN))


def other_scores(study: StudyResults) -> dict[str, str]:
    """The columns beside the study's metric, and their names."""
    own = [str(column) for column in study.scores.columns if str(column).startswith(OWN)]
    shown = OTHER_SCORES | network_columns(study) | {name: name.removeprefix(OWN) for name in own}
    return {column: name for column, name in shown.items() if column != study.metric}


def network_columns(study: StudyResults) -> dict[str, str]:
    """Those of NETWORK in which arms differ; what training costs, where networks do."""
    differ = {name for name in NETWORK if name in study.scores and study.scores[name].nunique() > 1}
    asked = {"network_calls", *(NETWORK if "cost/parameters" in differ else ())}
    return {name: text for name, text in NETWORK.items() if name in differ & asked}


def seeds_text(study: StudyResults) -> str:
    """ "3 seeds", "2-3 seeds" or "1 seed": how many results the arms have."""
    counts = sorted({len(study.values(study.metric, arm.name)) for arm in study.arms})
    if counts[-1] == 1:
        return "1 seed"
    return f"{counts[0]} seeds" if len(counts) == 1 else f"{counts[0]}-{counts[-1]} seeds"


def score_digits(study: StudyResults) -> int:
    """Decimals that scores of the study's metric are written with: one from 0 to 100, more of smaller scores."""
    if study.metric in HUNDRED or study.metric not in study.scores:
        return 1
    largest = float(pd.to_numeric(study.scores[study.metric], errors="coerce").abs().max())
    return 1 if largest >= 10 else 2 if largest >= 2 else 3


def effect_name(study: StudyResults, effect: str) -> str:
    """ "anchor loss" or "noise factor 4 vs 1" for a main effect, "anchor × F" for an interaction.

    The factor by which a study is grouped stands for the mean score at its levels.
    """
    if effect == grouping(study.factors):
        return "mean score"
    names = effect.split(" x ")
    if len(names) > 1:
        return " × ".join(short(name) for name in names)
    name, on = effect.replace("_", " "), on_levels(study)[effect]
    if isinstance(on, bool):
        return name
    off = next(level for level in study.factors[effect] if level != on)
    return f"{name} {toggle_text(on)} vs {toggle_text(off)}"


def comparison_name(study: StudyResults, row: "pd.Series[Any]") -> str:
    """A row of `comparisons` as it is written in tables."""
    if "order" not in row:
        return str(row["effect"]).replace(" - ", " − ")
    group = f": {row['group']}".replace(" - ", " − ") if "group" in row else ""
    return effect_name(study, row["effect"]) + group


def ablation(study: StudyResults) -> pd.DataFrame:
    """A row per arm: toggles, seeds, the metric with both intervals, other scores, difference to the control."""
    rows = []
    for arm in study.arms:
        values = study.values(study.metric, arm.name)
        scores = list(values.values())
        row: dict[str, Any] = {"arm": arm.name, "label": arm.label}
        row |= {f"toggle/{factor}": arm.toggles.get(factor) for factor in study.factors}
        row |= {"n_seeds": len(values), "seeds": " ".join(str(seed) for seed in values)}
        row |= mean_columns(study.metric, scores)
        row |= bootstraps(scores)
        row |= {column: _mean(study, column, arm.name) for column in other_scores(study)}
        row["outcomes"] = _outcomes(study, arm.name)
        rows.append(row | (_difference(study, arm.name) if study.compared else {}))
    return pd.DataFrame(rows)


def _mean(study: StudyResults, column: str, arm: str) -> float:
    values = list(study.values(column, arm).values())
    return float(np.mean(values)) if values else math.nan


def _outcomes(study: StudyResults, arm: str) -> str:
    """'' if all results of an arm are ok, else such as '1 diverged'."""
    outcomes = study.scores.loc[study.scores["arm"] == arm, "outcome"]
    counts = outcomes[outcomes != "ok"].value_counts().sort_index()
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items())


def _difference(study: StudyResults, arm: str) -> dict[str, Any]:
    """Columns of an arm's difference to its control, paired by seed; NaN for a control itself."""
    control = study.control_of(arm)
    if control is None or arm == control:
        return mean_columns("difference", []) | {"difference_n": 0, "p": math.nan}
    x = paired(study.values(study.metric, arm), study.values(study.metric, control))
    return mean_columns("difference", x) | {"difference_n": x.size, "p": t_pvalue(x)}


def differences(study: StudyResults) -> pd.DataFrame:
    """A row per arm but controls: paired difference, interval, p (raw, sign test, Holm), verdict, seeds needed.

    Of a study with groups each arm is compared with its own group's control. Empty without a control or a second arm.
    """
    rows = []
    for arm in study.arms:
        control = study.control_of(arm.name)
        if control in (None, arm.name):
            continue
        x = paired(study.values(study.metric, arm.name), study.values(study.metric, str(control)))
        row = {"effect": f"{arm.label} - {study.arm(str(control)).label}", "arm": arm.name, "kind": "difference"}
        rows.append(row | tested(x))
    finish(rows)
    frame = judged(framed(rows), study.no_verdict)
    without = [arm for arm in study.no_verdicts if len(frame) and arm in set(frame["arm"])]
    return judged(frame, " ".join(without), frame["arm"].isin(without)) if without else frame


def comparisons(study: StudyResults) -> pd.DataFrame:
    """The effects of a factorial, else the differences to the control: what a study's conclusions rest on."""
    found = effects(study)
    return found if len(found) else differences(study)
